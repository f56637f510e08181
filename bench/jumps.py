"""How good a network that jumps is in 1 to 16 steps: held-out cars, chapter 10.

    python bench/jumps.py [--pictures 5000]
    python bench/jumps.py --pictures 60 --results /tmp/try    # does it work?

Draws the same noises with the shipped "jumps", with its teacher (the guided "small") and with
"small" alone, in 1, 2, 4, 8 and 16 steps, and measures all against the 1,000 held-out cars. The
difference to the teacher's 16 steps comes with an interval of 95%, by pictures drawn by lot in
pairs. For "jumps" the search for copies of chapter 7 runs too. Rows go to results/jumps.json.
"""

import argparse
from pathlib import Path

import numpy as np
from recording import RESULTS, write_results

from diffusion_core import (
    denormalize,
    gaussian_noise,
    guided,
    linear_schedule,
    load_cars,
    load_pretrained,
    predict,
)
from diffusion_core.evaluation import compare, frechet_distance
from diffusion_core.sources.copies import copying
from diffusion_core.sources.features import classifier_features
from diffusion_core.sources.measures import paired_difference
from diffusion_core.sources.pretrained import GUIDE, weights_digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    small, pupil = load_pretrained(), load_pretrained("jumps")
    networks = {"teacher": guided(small, load_pretrained(GUIDE)), "small": small, "jumps": pupil}
    training, cars = load_cars(), load_cars("test")
    held_out, noise = classifier_features(cars), gaussian_noise(options.pictures)
    ends, rows = predict(networks["teacher"], noise=noise), []
    usual = classifier_features(denormalize(ends))
    for name, network in networks.items():
        for steps in (16, 8, 4, 2, 1):
            images = predict(network, schedule=linear_schedule(steps), noise=noise)
            drawn = denormalize(images)
            further, *interval = paired_difference(
                frechet_distance, classifier_features(drawn), usual, held_out
            )
            row = {"network": name, "steps": steps, **compare(drawn, cars)}
            row |= {"further than 16 steps of the teacher": further, "95% of it": interval}
            row |= {"to the teacher's ends": float(np.abs(images - ends).mean())}
            row |= {"contrast": float(drawn.std())}
            if name == "jumps":
                row["copied"] = float(copying(drawn, training)["copied"].mean())
            rows.append(row)
            digests = {"network": weights_digest(small), "jumps": weights_digest(pupil)}
            write_results("jumps", rows, options.results, **digests, seed=0)


if __name__ == "__main__":
    main()
