"""How good a network that jumps is in 1 to 16 steps: held-out cars, chapter 10.

    python bench/jumps.py [--pictures 5000]
    python bench/jumps.py --pictures 60 --results /tmp/try    # does it work?

Draws the same noises with the shipped "jumps", with its teacher (the guided "small") and with
"small" alone, and measures all against the 1,000 held-out cars. The difference to the teacher's 16
steps comes with an interval of 95%, by pictures drawn by lot in pairs. For "jumps" in 4 steps and
in 1 the search for copies of chapter 7 runs too. Rows go to results/jumps.json.
"""

from itertools import product

import numpy as np
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.evaluation import compare, frechet_distance
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.copies import copying
from diffusion_core.sources.features import classifier_features
from diffusion_core.sources.measures import paired_difference
from diffusion_core.sources.pretrained import GUIDE


def main() -> None:
    arguments = read_arguments(__doc__, pictures=5000)
    small, jumps = core.load_pretrained(), core.load_pretrained("jumps")
    teacher = core.guided(small, core.load_pretrained(GUIDE))
    networks = {"teacher": teacher, "small": small, "jumps": jumps}
    training, cars = core.load_cars(), core.load_cars("test")
    noise, held_out = core.gaussian_noise(arguments.pictures), classifier_features(cars)
    ends = core.predict(teacher, noise=noise)
    usual = classifier_features(core.denormalize(ends))

    def measure(about):
        schedule = core.linear_schedule(about["steps"])
        images = core.predict(networks[about["network"]], schedule=schedule, noise=noise)
        drawn = core.denormalize(images)
        features = classifier_features(drawn)
        further, *interval = paired_difference(frechet_distance, features, usual, held_out)
        found = compare(drawn, cars) | {
            "further than 16 steps of the teacher": further,
            "95% of it": interval,
            "to the teacher's ends": float(np.abs(images - ends).mean()),
            "contrast": float(drawn.std()),
        }
        if about["network"] == "jumps" and about["steps"] in (1, 4):
            found["copied"] = float(copying(drawn, training)["copied"].mean())
        return found

    settings = [
        {"network": name, "steps": steps, "pictures": arguments.pictures, "seed": 0}
        for name, steps in product(networks, (16, 8, 4, 2, 1))
    ]
    digests = {"network": weights_digest(small), "jumps": weights_digest(jumps)}
    add_rows("jumps", settings, measure, arguments.results, **digests)


if __name__ == "__main__":
    main()
