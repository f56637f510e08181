"""What a rule and the places of its steps buy: the curves and levels of chapter 9.

    python bench/samplers.py samplers [--pictures 500]
    python bench/samplers.py levels --pictures 5000
    python bench/samplers.py samplers --pictures 60 --most 4 --results /tmp/try    # does it work?

`samplers` draws the same noises by every rule with 1 to 128 calls of the network, and measures two
things: the distance of the pictures to those of 128 steps of Heun's rule from the same noise (the
network's own fine solution), and the Fréchet distance to the 5,000 training cars. It also draws
with 4, 8 and 16 calls on unevenly spaced levels. `levels` judges those that came nearest once, on
held-out cars and from other noises, beside even levels. Rows go to the file in results/ of that
name, one for each setting; those of this network that are already there are left out.
"""

from functools import partial

import numpy as np
from recording import add_rows, read_results, run_benches

import diffusion_core as core
from diffusion_core.evaluation import frechet_distance
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.features import classifier_features
from diffusion_core.sources.measures import paired_difference

TWICE = ("heun", "churn")  # two calls a step, and one in the last
RULES = ("euler", "heun", "dpm_solver", "ancestral", "churn")
SHIFTS = (0.25, 0.35, 0.5, 0.7, 1.4, 2, 2.8, 4)
CALLS = (4, 8, 16)  # with which uneven levels are tried
CURVES = [(rule, 2**k, 1) for k in range(8) for rule in RULES]
LEVELS = [("euler", calls, k) for calls in CALLS for k in SHIFTS]


def shifted(steps, shift):
    """Return even levels moved by one number (Esser et al. 2024, arXiv:2403.03206, equation 23).

    Above 1 more of them are noisy, below 1 more are clean.
    """
    even = core.linear_schedule(steps).noise
    noise = shift * even / (shift * even + 1 - even)
    return core.Schedule(signal=1 - noise, noise=noise)


def draw(rule, steps, shift, noise):
    """Draw with "small" from these noises."""
    schedule = shifted(steps, shift)
    return core.predict(core.load_pretrained(), schedule=schedule, noise=noise, sampler=rule)


def seen(images):
    """Return the features of drawn pictures."""
    return classifier_features(core.denormalize(images))


def samplers(arguments) -> None:
    """Measure each rule, and Euler's on uneven levels, against the training cars."""
    of_noise = partial(draw, noise=core.gaussian_noise(arguments.pictures))
    cars = classifier_features(core.load_cars())
    fine, usual = of_noise("heun", 128, 1), seen(of_noise("euler", 16, 1))

    def measure(about):
        images = of_noise(about["rule"], about["steps"], about["shift"])
        features = seen(images)
        further, *interval = paired_difference(frechet_distance, features, usual, cars)
        return {
            "to the fine solution": float(np.abs(images - fine).mean()),
            "frechet distance": frechet_distance(features, cars),
            "further than 16 steps of Euler": further,
            "interval": interval,
        }

    settings = []
    for rule, calls, shift in [*CURVES, *LEVELS]:
        # Of the rules that ask twice, 2 k - 1 calls come nearest from below.
        steps = max(1, calls // 2) if rule in TWICE else calls
        about = {"rule": rule, "calls": 2 * steps - 1 if rule in TWICE else steps, "steps": steps}
        about |= {"shift": shift, "pictures": arguments.pictures, "seed": 0}
        if about["calls"] <= arguments.most:
            settings.append(about)
    network = weights_digest(core.load_pretrained())
    add_rows("samplers", settings, measure, arguments.results, network=network)


def levels(arguments) -> None:
    """Judge the levels that the training cars chose for each number of calls."""
    of_noise = partial(draw, noise=core.gaussian_noise(arguments.pictures, seed=1))
    cars, tried = classifier_features(core.load_cars("test")), read_results("samplers")["rows"]

    def measure(about):
        even, chosen = (seen(of_noise("euler", about["calls"], k)) for k in (1, about["shift"]))
        further, *interval = paired_difference(frechet_distance, chosen, even, cars)
        return {
            "even levels": frechet_distance(even, cars),
            "chosen levels": frechet_distance(chosen, cars),
            "further": further,
            "interval": interval,
        }

    settings = []
    for calls in CALLS:
        rows = [row for row in tried if (row["rule"], row["calls"]) == ("euler", calls)]
        shift = min(rows, key=lambda row: row["frechet distance"])["shift"]
        about = {"calls": calls, "shift": shift, "pictures": arguments.pictures, "seed": 1}
        settings.append(about)
    network = weights_digest(core.load_pretrained())
    add_rows("levels", settings, measure, arguments.results, network=network)


if __name__ == "__main__":
    run_benches([samplers, levels], __doc__, pictures=500, most=128)
