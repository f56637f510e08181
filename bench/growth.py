"""How the cost of our network grows, and what more steps buy.

    python bench/growth.py                        # everything
    python bench/growth.py size --rounds 3
    python bench/growth.py steps --pictures 1000

`size` trains with other batches, pictures and widths, each in a process of its own, several rounds
in turns: results/growth.json. `memory` is the most that a process holds which trains two steps or
draws: results/memory.json; its first row is what the libraries hold before anything is computed.
`steps` draws with the shipped network by Euler's and by Heun's rule from the same noise and
measures the pictures: results/growth-steps.json; it passes over rows of this network that are there
already.
"""

from functools import partial
from itertools import pairwise

import numpy as np
from peers import OPTIONS, child, holds, in_turns, training_row
from process import SEED, WARM_UP, in_batches
from recording import read_results, run_benches, write_results

import diffusion_core as core
from diffusion_core.evaluation import compare
from diffusion_core.runs.devices import predict_on_batch
from diffusion_core.sources.pretrained import weights_digest

SETTINGS = [{"batch": batch} for batch in (16, 32, 64, 128, 256)]
SETTINGS += [{"size": 64}, {"widths": (16, 32, 64)}, {"widths": (64, 128, 256)}]
HELD = [("nothing yet", 0, "{}")]
# The warm-up is all that is trained.
HELD += [("training", n, f"train_some(ours(batch={n}), 0)") for n in (16, 64, 128)]
HELD += [("drawing", n, f"draw_some(draw_by_predict({n}), {n})") for n in (25, 100, 400)]
HEUN_STEPS = (2, 4, 8, 16, 32)
EULER_STEPS = (1, 2, 4, 8, 16, 32, 64)


def size(arguments) -> None:
    """Time training and its peak memory, changing one of batch, picture and widths at a time."""
    calls = [("ours", f"train_some(ours(**{each}), {arguments.images})") for each in SETTINGS]
    rows = []
    for each, found in zip(SETTINGS, in_turns(calls, arguments), strict=True):
        widths = "/".join(map(str, each.get("widths", (32, 64, 128))))
        rows.append({"what": "ours", "widths": widths, **training_row("ours", found)})
    write_results("growth", rows, arguments.results, rounds=arguments.rounds, seed=SEED)


def memory(arguments) -> None:
    """Note the peak memory of training and of drawing so many images at once."""
    rows = []
    for what, size, call in HELD:
        peak = round(child("ours", call, arguments)["peak_megabytes"])
        rows.append({"what": what, "images at once": size, "peak, MB": peak})
    about = {"backend": "tensorflow", "precision": "float32", "steps": WARM_UP}
    write_results("memory", rows, arguments.results, **about)


def steps(arguments) -> None:
    """Measure what the shipped network draws in few and in many steps.

    Heun's rule asks the network twice a step, but once in the last (Karras et al. 2022,
    arXiv:2206.00364, algorithm 1): `k` of its steps are `2 k - 1` calls, and Euler's rule is
    measured at so many calls too.
    """
    model, held_out = core.load_pretrained(), core.load_cars("test")
    noise = core.gaussian_noise(arguments.pictures)
    runs = {("Euler", k): k for k in (*EULER_STEPS, *(2 * k - 1 for k in HEUN_STEPS))}
    runs |= {("Heun", k): 2 * k - 1 for k in HEUN_STEPS}
    network = weights_digest(model)
    saved = read_results("growth-steps", arguments.results)
    # Rows of another network say nothing about this one.
    rows = saved["rows"] if saved.get("network") == network else []
    for (rule, timesteps), calls in sorted(runs.items(), key=lambda run: (run[1], run[0])):
        about = {"steps": timesteps, "network calls": calls, "pictures": len(noise), "seed": SEED}
        if holds(rows, rule, about):
            continue
        schedule = core.linear_schedule(timesteps)
        if rule == "Euler":
            images = core.predict(model, schedule=schedule, noise=noise)
        else:
            images = draw_heun(partial(take_step, model), noise, schedule.noise)
        rows.append({"what": rule, **about, **compare(core.denormalize(images), held_out)})
        write_results("growth-steps", rows, arguments.results, network=network)


def take_step(model, images, *levels):
    """Return the images at the second of two noise levels, from those at the first."""
    levels = (np.full((len(images), 1), level, np.float32) for level in levels)
    return predict_on_batch(model, [images, *levels])


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


def main() -> None:
    benches = {"size": size, "memory": memory, "steps": steps}
    options = {name: OPTIONS[name] for name in ("rounds", "images", "pictures")}
    run_benches(benches, __doc__, **options)


if __name__ == "__main__":
    main()
