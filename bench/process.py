"""One contestant, one process: how the benches start contestants, and what these do and report.

TensorFlow's and PyTorch's thread pools never meet, and peak memory is the contestant's own. This
module needs NumPy alone, so that it runs in both environments.
"""

import json
import os
import resource
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import numpy as np

BENCH = Path(__file__).parent
PACKAGES = ("numpy", "tensorflow", "keras", "torch", "diffusers")
WARM_UP = 2
SEED = 0
DRAWN_AT_ONCE = 100  # as in diffusion_core.sampling
MATRIX_SIZE = 2048


class Contestant(NamedTuple):
    """A network with its rule of training and of drawing; images are `(n, size, size, 3)`.

    Attributes:
        batch: images a training step.
        multiply_adds: of convolutions and matrix products, for one image through the network once.
        train: called with a batch of clean images in [-1, 1] and the share of the budget used.
        draw: starting noise in, float pictures out, by the name of the weights that drew them.
    """

    batch: int
    size: int
    parameters: int
    multiply_adds: int
    train: Callable[[np.ndarray, float], None] | None
    draw: Callable[[np.ndarray], dict[str, np.ndarray]] | None


def run_child(python: str, module: str, call: str, environment=None) -> dict:
    """Call a function of a module of bench/, or of this one, in a new process of its own.

    Returns what it returns, with the peak memory, the seconds from the start until `first_done_at`
    and the versions. Raises `RuntimeError` with the end of the child's messages when it fails.
    """
    print(module, call, file=sys.stderr, flush=True)
    start = time.time()
    child = subprocess.run(
        [python, "-c", f"from process import *; from {module} import *; report({call})"],
        cwd=BENCH,
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {}),
    )
    if child.returncode:
        raise RuntimeError(f"{call} of {module} failed: {child.stderr[-3000:]}")
    found = json.loads(child.stdout.splitlines()[-1])
    return found | {"first_seconds": found.pop("first_done_at", start) - start}


def report(found: dict) -> None:
    """Print a child's last line: what it found, its peak memory and the versions it ran on."""
    versions = {package.name: package.version for package in distributions()}
    versions = {name: versions[name] for name in PACKAGES if name in versions}
    print(json.dumps({**found, "peak_megabytes": peak_megabytes(), "versions": versions}))


def peak_megabytes() -> float:
    """Return the most memory that this process ever held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    # On Linux getrusage starts at the peak of the parent, so it cannot be used there.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def train_some(contestant: Contestant, images: int) -> dict:
    """Train on random pictures and return how fast it was, and what the network is."""
    size = (contestant.batch, contestant.size, contestant.size, 3)
    batch = np.random.default_rng(SEED).uniform(-1, 1, size).astype(np.float32)
    for _ in range(WARM_UP):
        contestant.train(batch, 0.0)
    steps = -(-images // contestant.batch)
    start = time.perf_counter()
    for _ in range(steps):
        contestant.train(batch, 0.0)
    speed = steps * contestant.batch / (time.perf_counter() - start)
    return {"images_per_second": speed, **sizes(contestant)}


def sizes(contestant: Contestant) -> dict[str, int]:
    return {name: value for name, value in contestant._asdict().items() if isinstance(value, int)}


def draw_some(draw: Callable[[int], np.ndarray], pictures: int) -> dict:
    """Draw twice, the first time with all that compiles, and return how long each took."""
    draw(pictures)
    first_done_at, start = time.time(), time.perf_counter()
    draw(pictures)
    return {"first_done_at": first_done_at, "seconds": time.perf_counter() - start}


def train_and_draw(
    contestant: Contestant, name: str, scratch: str, minutes: float, pictures: int
) -> dict:
    """Train on scratch/cars.npy for some CPU minutes, draw from scratch/noise.npy, save uint8."""
    noise = np.load(Path(scratch) / "noise.npy")[:pictures]
    start = time.perf_counter()
    steps = train_for(contestant, np.load(Path(scratch) / "cars.npy"), 60 * minutes)
    seconds = time.perf_counter() - start
    drawn = {}
    for weights, images in contestant.draw(noise).items():
        if not np.isfinite(images).all():
            raise ValueError(f"{name} drew NaN or infinite values; its training went wrong.")
        drawn[weights] = str(Path(scratch) / f"{name}-{weights}.npy")
        np.save(drawn[weights], np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8))
    images = steps * contestant.batch
    return {"steps": steps, "images": images, "train_seconds": seconds, "drawn": drawn}


def train_for(contestant: Contestant, cars: np.ndarray, cpu_seconds: float) -> int:
    """Train in epochs until this process has used so much CPU time; return the steps taken."""
    start, steps, batch = time.process_time(), 0, contestant.batch
    in_an_epoch = len(cars) // batch
    while (used := time.process_time() - start) < cpu_seconds:
        epoch, place = divmod(steps, in_an_epoch)
        if place == 0:
            order = np.random.default_rng([SEED, 0, 1 + epoch]).permutation(len(cars))
        images = cars[order[place * batch : (place + 1) * batch]]
        contestant.train(images, used / cpu_seconds)
        steps += 1
    return steps


def in_batches(draw: Callable[[np.ndarray], np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Draw so many pictures at once that memory is bounded; `noise` is `(n, ...)`."""
    firsts = range(0, len(noise), DRAWN_AT_ONCE)
    return np.concatenate([draw(noise[first : first + DRAWN_AT_ONCE]) for first in firsts])


def matrix_product_rate(library: str) -> dict:
    """Measure how many billions of multiplications and additions a second this machine reaches."""
    matrix = np.random.default_rng(SEED).random((MATRIX_SIZE, MATRIX_SIZE), np.float32)
    if library == "torch":
        import torch

        matrix = torch.from_numpy(matrix)
    # The fastest, since it stands for what the machine can do.
    seconds = min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=10))
    return {"gigaflops": 2 * MATRIX_SIZE**3 / seconds / 1e9}
