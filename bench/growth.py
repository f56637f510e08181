"""How the cost of our network grows, and what more steps buy.

    python bench/growth.py                        # both
    python bench/growth.py size --rounds 3
    python bench/growth.py steps --pictures 1000

`size` trains with other batches, pictures and widths, each in a process of its own, several rounds
in turns: results/growth.json. `steps` draws with the shipped network by Euler's and by Heun's rule
from the same noise and measures the pictures: results/growth-steps.json; it passes over rows of
this network that are there already.
"""

import argparse
import hashlib
import sys
import time
from itertools import pairwise

import numpy as np
from peers import KERAS, holds, training_row
from process import in_batches, run_child
from recording import read_arguments, read_results, write_results

from diffusion_core import (
    checkpoints,
    denormalize,
    gaussian_noise,
    linear_schedule,
    load_cars,
    load_pretrained,
    predict,
)

BATCHES = (16, 32, 64, 128, 256)
SIZES = (32, 64)
WIDTHS = ((16, 32, 64), (32, 64, 128), (64, 128, 256))
HEUN_STEPS = (2, 4, 8, 16, 32)
EULER_STEPS = (1, 2, 4, 8, 16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-calls", type=int, default=64, help="of the network, in `steps`")
    arguments = read_arguments(parser, BENCHES)
    for what in arguments.what:
        BENCHES[what](arguments)


def size(arguments) -> None:
    """Time training and its peak memory, changing one of batch, picture and widths at a time."""
    settings = [{"batch": batch} for batch in BATCHES]
    settings += [{"size": side} for side in SIZES if side != 32]
    settings += [{"widths": widths} for widths in WIDTHS if widths != (32, 64, 128)]
    reports = [[] for _ in settings]
    for _ in range(arguments.rounds):
        for setting, found in zip(settings, reports, strict=True):
            print(setting, file=sys.stderr, flush=True)
            request = {"images": arguments.images, "settings": setting}
            found.append(run_child(sys.executable, KERAS, "train", "ours", **request))
    rows = []
    for setting, found in zip(settings, reports, strict=True):
        widths = setting.get("widths", (32, 64, 128))
        row = training_row("ours", found)
        rows.append({"what": "ours", "widths": "/".join(map(str, widths)), **row})
    write_results("growth", rows, arguments.results, rounds=arguments.rounds, seed=0)


def steps(arguments) -> None:
    """Measure what the shipped network draws in few and in many steps.

    Heun's rule asks the network twice a step, but once in the last (Karras et al. 2022,
    arXiv:2206.00364, algorithm 1): `k` of its steps are `2 k - 1` calls, and Euler's rule is
    measured at so many calls too. The network was trained at 16 noise levels; others lie between
    these, and below the least one.
    """
    from diffusion_core.evaluation import compare  # now, so that it fails before the drawing

    model = load_pretrained()
    held_out = load_cars("test")
    noise = gaussian_noise(arguments.pictures)
    runs = {("Euler", k): k for k in (*EULER_STEPS, *(2 * k - 1 for k in HEUN_STEPS))}
    runs |= {("Heun", k): 2 * k - 1 for k in HEUN_STEPS}
    weights = (checkpoints.PRETRAINED / "small.safetensors").read_bytes()
    network = hashlib.sha256(weights).hexdigest()[:12]
    saved = read_results("growth-steps", arguments.results)
    # Rows of another network say nothing about this one.
    rows = saved["rows"] if saved.get("network") == network else []
    for (rule, timesteps), calls in sorted(runs.items(), key=lambda run: (run[1], run[0])):
        about = {"steps": timesteps, "network calls": calls, "pictures": len(noise), "seed": 0}
        if calls > arguments.most_calls or holds(rows, rule, about):
            continue
        schedule = linear_schedule(timesteps)
        start = time.perf_counter()
        if rule == "Euler":
            images = predict(model, schedule=schedule, noise=noise)
        else:
            images = draw_heun(compiled(model), noise, schedule.noise)
        seconds = round(time.perf_counter() - start, 1)
        found = compare(denormalize(images), held_out)
        rows.append({"what": rule, **about, "seconds, compiling included": seconds, **found})
        write_results("growth-steps", rows, arguments.results, network=network)


def compiled(model):
    """Return the network as `images, noise level, next noise level` to the next images."""
    model.compile(jit_compile=True)

    def step(images, level, next_level):
        levels = (np.full((len(images), 1), a, np.float32) for a in (level, next_level))
        return np.asarray(model.predict_on_batch([images, *levels]))

    return step


def draw_heun(step, noise, levels):
    """Draw by Heun's rule: take each Euler step, ask again where it led, and go by the mean.

    A second Euler step of the same size leads twice as far, so the mean is half-way back; it does
    not matter that its end may lie below noise level 0. The last step stays Euler's, since the
    network does not know level 0.
    """

    def draw(images):
        for level, next_level in pairwise(levels):
            there = step(images, level, next_level)
            if next_level > 0:
                there = (images + step(there, next_level, 2 * next_level - level)) / 2
            images = there
        return images

    return in_batches(draw, noise)


BENCHES = {"size": size, "steps": steps}

if __name__ == "__main__":
    main()
