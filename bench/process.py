"""One contestant, one process: how the benches start contestants, and what these do and report.

TensorFlow's and PyTorch's thread pools never meet, and peak memory is the contestant's own. This
module needs NumPy alone, so that it runs in both environments. As a program it measures the
matrix products that other figures are held against: `python bench/process.py rate numpy {}`.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

BENCH = Path(__file__).parent
PACKAGES = ("numpy", "tensorflow", "keras", "torch", "diffusers")
WARM_UP = 2
DRAWN_AT_ONCE = 100  # as in diffusion_core.sampling
MATRIX_SIZE = 2048


class Contestant(NamedTuple):
    """A network with its rule of training and of drawing; images are `(n, height, width, 3)`.

    Attributes:
        batch: images a training step.
        image_size: height and width.
        parameters: trainable numbers.
        multiply_adds: of convolutions and matrix products, for one image through the network once.
        train: called with a batch of clean images in [-1, 1] and the share of the budget used.
        draw: starting noise in, float pictures out, by the name of the weights that drew them.
    """

    batch: int
    image_size: int
    parameters: int
    multiply_adds: int
    train: Callable[[np.ndarray, float], None]
    draw: Callable[[np.ndarray], dict[str, np.ndarray]]


def run_child(python: str, script: str, do: str, name: str, environment=None, **request) -> dict:
    """Run a program of bench/ to its end; return its report, with figures of the whole process.

    Raises `RuntimeError` with the end of its messages when it fails.
    """
    print(script, do, name, request, file=sys.stderr, flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.time()
    child = subprocess.run(
        [python, str(BENCH / script), do, name, json.dumps(request)],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {}),
    )
    seconds = time.time() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise RuntimeError(f"{script} {do} {name} failed: {child.stderr[-3000:]}")
    report = json.loads(child.stdout.splitlines()[-1])
    report["first_seconds"] = report.pop("first_done_at", start) - start
    report["whole_seconds"] = seconds
    report["cpu_seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return report


def child_main(trainers: dict[str, Callable], drawers: dict[str, Callable]) -> None:
    """Do what the command line of `run_child` asks for, and print the report as the last line.

    Args:
        trainers: functions that make a `Contestant`.
        drawers: functions that make a function from a number of pictures to the pictures.
    """
    do, name, request = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    settings = request.pop("settings", {})
    if do == "train":
        report(**train_some(trainers[name](**settings), **request))
    elif do == "draw":
        report(**draw_some(drawers[name](**settings), **request))
    elif do == "quality":
        contestant = trainers[name](seed=request["seed"], **settings)
        report(**train_and_draw(contestant, name, **request))
    else:  # nothing but what was imported
        report()


def report(**values) -> None:
    """Print a child's last line: the values, its peak memory and the versions it ran on."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    print(json.dumps({**values, "peak_megabytes": peak_megabytes(), "versions": versions}))


def peak_megabytes() -> float:
    """Return the most memory that this process ever held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    # On Linux getrusage starts at the peak of the parent, so it cannot be used there.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def train_some(contestant: Contestant, images: int) -> dict:
    """Train on random pictures and return how long it took, and what the network is."""
    size = (contestant.batch, contestant.image_size, contestant.image_size, 3)
    batch = np.random.default_rng(0).uniform(-1, 1, size).astype(np.float32)
    for number in range(WARM_UP):
        contestant.train(batch, 0.0)
        if number == 0:
            first_done_at = time.time()
    steps = -(-images // contestant.batch)
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        contestant.train(batch, 0.0)
    return {
        "first_done_at": first_done_at,
        "seconds": time.perf_counter() - start,
        "loop_cpu_seconds": time.process_time() - cpu_start,
        "images": steps * contestant.batch,
        "batch": contestant.batch,
        "image_size": contestant.image_size,
        "parameters": contestant.parameters,
        "multiply_adds": contestant.multiply_adds,
    }


def draw_some(draw: Callable[[int], np.ndarray], pictures: int) -> dict:
    """Draw twice, the first time with all that compiles, and return how long each took."""
    draw(pictures)
    first_done_at, start = time.time(), time.perf_counter()
    draw(pictures)
    return {"first_done_at": first_done_at, "seconds": time.perf_counter() - start}


def train_and_draw(
    contestant: Contestant, name: str, *, scratch: str, minutes: float, pictures: int, seed: int
) -> dict:
    """Train on scratch/cars.npy for some CPU minutes, draw from scratch/noise.npy, save uint8."""
    cars = np.load(Path(scratch) / "cars.npy")
    noise = np.load(Path(scratch) / "noise.npy")[:pictures]
    start = time.perf_counter()
    steps = train_for(contestant, cars, 60 * minutes, seed)
    seconds = time.perf_counter() - start
    drawn = {}
    for weights, images in contestant.draw(noise).items():
        if not np.isfinite(images).all():
            raise ValueError(f"{name} drew NaN or infinite values; its training went wrong.")
        drawn[weights] = str(Path(scratch) / f"{name}-{weights}.npy")
        np.save(drawn[weights], np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8))
    images = steps * contestant.batch
    return {"steps": steps, "images": images, "train_seconds": seconds, "drawn": drawn}


def train_for(contestant: Contestant, cars: np.ndarray, cpu_seconds: float, seed: int) -> int:
    """Train in epochs until this process has used so much CPU time; return the steps taken."""
    start = time.process_time()
    steps = epoch = 0
    while True:
        epoch += 1
        order = np.random.default_rng([seed, 0, epoch]).permutation(len(cars))
        for first in range(0, len(cars) - contestant.batch + 1, contestant.batch):
            used = time.process_time() - start
            if used >= cpu_seconds:
                return steps
            contestant.train(cars[order[first : first + contestant.batch]], used / cpu_seconds)
            steps += 1


def in_batches(draw: Callable[[np.ndarray], np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Draw so many pictures at once that memory is bounded; `noise` is `(n, ...)`."""
    firsts = range(0, len(noise), DRAWN_AT_ONCE)
    return np.concatenate([draw(noise[first : first + DRAWN_AT_ONCE]) for first in firsts])


def matrix_product_rate(library: str) -> float:
    """Return how many billions of multiplications and additions a second this machine reaches."""
    matrix = np.random.default_rng(0).random((MATRIX_SIZE, MATRIX_SIZE), np.float32)
    if library == "torch":
        import torch

        matrix = torch.from_numpy(matrix)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    # The fastest, since it stands for what the machine can do.
    return 2 * MATRIX_SIZE**3 / min(seconds) / 1e9


if __name__ == "__main__":
    report(gigaflops=matrix_product_rate(sys.argv[2]))
