"""How near edited cars come to real ones, and how near they stay to what was given.

    python bench/editing.py [--pictures 200] [--judged 500]
    python bench/editing.py --pictures 20 --judged 20 --results /tmp/try    # does it work?

`redraw` draws on from training cars that were flattened to 8 × 8 blocks of one colour, from several
noise levels; `inpainting` fills a square of 16 × 16 in the middle of training cars, with several
strengths of guidance and patience. Both are measured against other training cars. `invert` walks
training cars back to their noise and draws from it again. What these rows choose is then done once
to held-out cars, which no network saw. A row each goes to results/editing.json; those of these
networks that are already there are left out.
"""

from itertools import product

import numpy as np
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.evaluation import frechet_distance
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.features import classifier_features
from diffusion_core.sources.pretrained import GUIDE

GIVEN = 1000  # of the training cars; the others are compared with
HOLE = np.zeros((32, 32), bool)
HOLE[8:24, 8:24] = True
CHOSEN = [
    {"edit": "redraw", "w": 3, "steps": 16, "level": 0.6},
    {"edit": "inpainting", "w": 2, "steps": 16, "patience": 1},
]
CONTROLS = ("nothing", "flattened", "grey hole", "another car in the hole")


def flattened(cars):
    """Return cars in blocks of 4 × 4 pixels, each of their mean colour."""
    blocks = cars.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))
    return blocks.repeat(4, 1).repeat(4, 2)


def seam(cars):
    """Return the mean step of 0 to 255 from the pixels at the edge of the hole to those outside."""
    inside, outside = [], []
    for turned in (cars, cars[:, ::-1], cars.swapaxes(1, 2), cars.swapaxes(1, 2)[:, ::-1]):
        inside.append(turned[:, 8, 8:24])
        outside.append(turned[:, 7, 8:24])
    return 127.5 * float(np.abs(np.subtract(inside, outside)).mean())


def main() -> None:
    arguments = read_arguments(__doc__, pictures=200, judged=500)
    training, strong, weak = core.load_cars(), core.load_pretrained(), core.load_pretrained(GUIDE)
    others = classifier_features(training[GIVEN:])
    cars = {"training": training[:GIVEN], "held-out": core.load_cars("test")}

    def draw(about, given):
        model, schedule = (
            core.guided(strong, weak, about["w"]),
            core.linear_schedule(about["steps"]),
        )
        if about["edit"] == "redraw":
            return core.redraw(model, flattened(given), about["level"], schedule)
        if about["edit"] == "invert":
            return core.predict(model, schedule=schedule, noise=core.invert(model, given, schedule))
        drawn = []
        for first in range(0, len(given), 100):
            some = given[first : first + 100]
            rule = core.inpainting(some, HOLE, about["patience"])
            noise = core.gaussian_noise(len(some), first=first)
            drawn.append(core.predict(model, schedule=schedule, noise=noise, sampler=rule))
        return np.concatenate(drawn)

    def measure(about):
        given = core.normalize(cars[about["cars"]][: about["pictures"]])
        hole = HOLE[..., None]
        known = {
            "nothing": given,
            "flattened": flattened(given),
            "grey hole": np.where(hole, np.float32(0), given),
            "another car in the hole": np.where(hole, np.roll(given, 1, axis=0), given),
        }
        edited = known[about["edit"]] if about["edit"] in known else draw(about, given)
        pixels = core.denormalize(edited)
        changed = {"changed": 127.5 * float(np.abs(edited - given).mean())}
        if about["edit"] == "invert":
            return changed
        return changed | {
            "frechet distance": frechet_distance(classifier_features(pixels), others),
            "colours": 127.5 * float(np.abs(flattened(edited) - flattened(given)).mean()),
            "seam": seam(edited),
            "contrast in the hole": float(pixels[:, HOLE].std()),
        }

    controls = [{"edit": name} for name in CONTROLS]
    drawn = [{"edit": "redraw", "w": 3, "steps": 16, "level": k / 10} for k in range(1, 11)]
    drawn += [
        {"edit": "inpainting", "w": w, "steps": 16, "patience": patience}
        for w, patience in product((1, 1.5, 2, 3), (1, 2, 4))
    ]
    chosen = {"cars": "training", "pictures": arguments.pictures, "seed": 0}
    settings = [each | chosen for each in controls + drawn]
    for w, steps in product((1, 3), (8, 16, 32, 64)):
        few = {"pictures": max(1, arguments.pictures // 8)}
        settings.append({"edit": "invert", "w": w, "steps": steps} | chosen | few)
    judged = {"cars": "held-out", "pictures": arguments.judged, "seed": 0}
    settings += [each | judged for each in controls + CHOSEN]
    digests = {"network": weights_digest(strong), "guide": weights_digest(weak)}
    add_rows("editing", settings, measure, arguments.results, **digests)


if __name__ == "__main__":
    main()
