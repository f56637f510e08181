"""What a rule and the places of its steps buy: the two curves of chapter 9, on training cars.

    python bench/samplers.py [--pictures 500] [--guidance 1 3]
    python bench/samplers.py --pictures 60 --most 4 --results /tmp/try    # does it work?

`curves` draws the same noises by every rule with 1 to 128 calls of the network, and measures two
things: the distance of the pictures to those of 128 steps of Heun's rule from the same noise (the
network's own fine solution), and the Fréchet distance to the 5,000 training cars. `levels` draws
with 4, 8 and 16 calls on unevenly spaced levels. Rows go to results/samplers.json, one for each
setting; those of this network that are already there are left out.
"""

from functools import cache
from itertools import product

import numpy as np
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.evaluation import frechet_distance
from diffusion_core.sources.features import classifier_features
from diffusion_core.sources.measures import paired_difference
from diffusion_core.sources.pretrained import GUIDE, weights_digest

TWICE = ("heun", "churn")  # two calls a step, and one in the last
RULES = ("euler", "heun", "dpm_solver", "ancestral", "churn")
SHIFTS = (0.25, 0.35, 0.5, 0.7, 1.4, 2, 2.8, 4)
CURVES = [(rule, 2**k, 1) for k in range(8) for rule in RULES]
LEVELS = [("euler", calls, k) for calls in (4, 8, 16) for k in SHIFTS]


def shifted(steps, shift):
    """Return even levels moved by one number (Esser et al. 2024, arXiv:2403.03206, equation 23).

    Above 1 more of them are noisy, below 1 more are clean.
    """
    even = core.linear_schedule(steps).noise
    noise = shift * even / (shift * even + 1 - even)
    return core.Schedule(signal=1 - noise, noise=noise)


def main() -> None:
    guidance = {"type": float, "nargs": "+", "default": [1.0]}
    arguments = read_arguments(__doc__, pictures=500, guidance=guidance, most=128)
    strong, weak = core.load_pretrained(), core.load_pretrained(GUIDE)
    cars, noise = classifier_features(core.load_cars()), core.gaussian_noise(arguments.pictures)

    def draw(guidance, rule, steps, shift=1.0):
        model = core.guided(strong, weak, guidance)
        return core.predict(model, schedule=shifted(steps, shift), noise=noise, sampler=rule)

    @cache  # for the rows of one guidance
    def fine_and_usual(guidance):
        usual = classifier_features(core.denormalize(draw(guidance, "euler", 16)))
        return draw(guidance, "heun", 128), usual

    def measure(about):
        images = draw(*(about[name] for name in ("guidance", "rule", "steps", "shift")))
        features = classifier_features(core.denormalize(images))
        fine, usual = fine_and_usual(about["guidance"])
        further, *interval = paired_difference(frechet_distance, features, usual, cars)
        return {
            "to the fine solution": float(np.abs(images - fine).mean()),
            "frechet distance": frechet_distance(features, cars),
            "further than 16 steps of Euler": further,
            "interval": interval,
        }

    settings = []
    for guidance, (rule, calls, shift) in product(arguments.guidance, [*CURVES, *LEVELS]):
        # Of the rules that ask twice, 2 k - 1 calls come nearest from below.
        steps = max(1, calls // 2) if rule in TWICE else calls
        about = {"rule": rule, "calls": 2 * steps - 1 if rule in TWICE else steps, "steps": steps}
        about |= {"shift": shift, "guidance": guidance, "pictures": arguments.pictures, "seed": 0}
        if about["calls"] <= arguments.most:
            settings.append(about)
    add_rows("samplers", settings, measure, arguments.results, network=weights_digest(strong))


if __name__ == "__main__":
    main()
