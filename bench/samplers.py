"""What a rule and the places of its steps buy: the two curves of chapter 9, on training cars.

    python bench/samplers.py [--pictures 500] [--guidance 1 3]
    python bench/samplers.py --pictures 60 --most 4 --results /tmp/try    # does it work?

`curves` draws the same noises by every rule with 1 to 128 calls of the network, and measures two
things: the distance of the pictures to those of 128 steps of Heun's rule from the same noise (the
network's own fine solution), and the Fréchet distance to the 5,000 training cars. `levels` draws
with 4, 8 and 16 calls on unevenly spaced levels. Rows go to results/samplers.json, one for each
setting; those of this network that are already there are left out.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
from recording import RESULTS, read_results, write_results

from diffusion_core import (
    Schedule,
    denormalize,
    gaussian_noise,
    guided,
    linear_schedule,
    load_cars,
    load_pretrained,
    predict,
)
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
    even = linear_schedule(steps).noise
    noise = shift * even / (shift * even + 1 - even)
    return Schedule(signal=1 - noise, noise=noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0])
    parser.add_argument("--most", type=int, default=128, help="calls of the network at most (128)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    strong, weak = load_pretrained(), load_pretrained(GUIDE)
    weights = weights_digest(strong)
    saved = read_results("samplers", options.results)
    rows = saved["rows"] if saved.get("network") == weights else []
    cars, noise = classifier_features(load_cars()), gaussian_noise(options.pictures)

    def draw(guidance, rule, steps, shift=1.0):
        model = guided(strong, weak, guidance)
        return predict(model, schedule=shifted(steps, shift), noise=noise, sampler=rule)

    @cache  # for the rows of one guidance
    def fine_and_usual(guidance):
        usual = classifier_features(denormalize(draw(guidance, "euler", 16)))
        return draw(guidance, "heun", 128), usual

    for guidance in options.guidance:
        for rule, calls, shift in [*CURVES, *LEVELS]:
            # Of the rules that ask twice, 2 k - 1 calls come nearest from below.
            steps = max(1, calls // 2) if rule in TWICE else calls
            asked = 2 * steps - 1 if rule in TWICE else steps
            about = {"rule": rule, "calls": asked, "steps": steps, "shift": shift}
            about |= {"guidance": guidance, "pictures": options.pictures, "seed": 0}
            if asked > options.most or any(about.items() <= row.items() for row in rows):
                continue
            images, (fine, usual) = draw(guidance, rule, steps, shift), fine_and_usual(guidance)
            features = classifier_features(denormalize(images))
            further, *interval = paired_difference(frechet_distance, features, usual, cars)
            measured = {
                "to the fine solution": float(np.abs(images - fine).mean()),
                "frechet distance": frechet_distance(features, cars),
                "further than 16 steps of Euler": further,
                "interval": interval,
            }
            rows.append(about | measured)
            write_results("samplers", rows, options.results, network=weights)


if __name__ == "__main__":
    main()
