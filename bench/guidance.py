"""What a weaker self buys as a guide: the choice, on training cars alone.

    python bench/guidance.py [--pictures 1000]

Draws the same noises with the shipped network, alone and away from weaker selves by several
strengths, and measures the pictures against the 5,000 training cars, with the difference to the
package's own setting. Adds a row to results/guidance.json for each setting; settings that are
already there are left out. The held-out cars have the last word, once, by
`python -m diffusion_core evaluate --guidance W`.
"""

import argparse
from functools import cache
from itertools import count
from pathlib import Path
from unittest import mock

import keras
from keras import layers
from recording import RESULTS, read_results, write_results

from diffusion_core import (
    denormalize,
    gaussian_noise,
    guided,
    linear_schedule,
    load_cars,
    load_pretrained,
    make_model,
    normalize,
    predict,
    train,
)
from diffusion_core.evaluation import frechet_distance
from diffusion_core.sources.features import COMPARED, classifier_features
from diffusion_core.sources.measures import paired_difference, precision_recall
from diffusion_core.sources.pretrained import GUIDE, weights_digest

OWN = {"weak": f"epoch {int(GUIDE[-3:])}", "w": 3}
STRENGTHS = {"epoch 5": (1.5, 2), "epoch 20": (1.5, 2, 3), OWN["weak"]: (1.5, 2, 3, 4, 5)}
STRENGTHS |= {"narrower": (1.5, 2, 3), "dropout": (1.5, 2)}
SETTINGS = [{"weak": "none", "w": 1}]
SETTINGS += [{"weak": weak, "w": w} for weak, several in STRENGTHS.items() for w in several]
SETTINGS += [{**OWN, "levels": levels} for levels in ([0, 0.8], [0.2, 1])]
SETTINGS += [{**each, "steps": n} for each in ({"weak": "none", "w": 1}, OWN) for n in (8, 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    weights = weights_digest(load_pretrained())
    saved = read_results("guidance", options.results)
    rows = saved["rows"] if saved.get("network") == weights else []
    training = load_cars()
    cars, about_cars = classifier_features(training), {"training contrast": float(training.std())}
    own = classifier_features(draw({"steps": 16, "levels": [0, 1], **OWN}, options.pictures))
    for setting in SETTINGS:
        about = {"steps": 16, "levels": [0, 1], **setting, "pictures": options.pictures, "seed": 0}
        if any(about.items() <= row.items() for row in rows):
            continue
        pictures = draw(about, options.pictures)
        features = classifier_features(pictures)
        difference, *interval = paired_difference(frechet_distance, features, own, cars)
        measured = {
            "frechet distance": frechet_distance(features, cars),
            "further than the package's own": difference,
            "interval": interval,
            "contrast": float(pictures.std()),
            **precision_recall(features[:COMPARED], cars[:COMPARED]),
        }
        rows.append(about | measured)
        write_results("guidance", rows, options.results, network=weights, **about_cars)


def draw(about, n):
    schedule = linear_schedule(about["steps"])
    return denormalize(predict(network(about), schedule=schedule, noise=gaussian_noise(n)))


@cache
def narrower():
    """Return a network of half the width that saw the cars as often as the guide did."""
    keras.utils.set_random_seed(0)
    model = make_model(widths=(16, 32, 64))
    train(model, normalize(load_cars()), epochs=int(GUIDE.removeprefix("small-epoch-")))
    return model


def network(about):
    """Return the network that draws in a row."""
    model, (weak, w) = load_pretrained(), (about["weak"], about["w"])
    if weak == "none":
        return model
    if weak in MADE:
        weak = MADE[weak]()
    else:
        weak = load_pretrained(f"small-epoch-{weak.removeprefix('epoch '):0>3}")
    inside = guided(model, weak, w)
    low, high = about["levels"]
    if (low, high) == (0, 1):
        return inside
    level = inside.inputs[1][..., None, None]
    within = keras.ops.logical_and(level > low, level <= high)
    return keras.Model(inside.inputs, keras.ops.where(within, inside.output, model.output))


class AlwaysDropout(layers.Layer):
    """Dropout that is on while drawing too: Keras' own is switched off there."""

    def __init__(self, share, seed):
        super().__init__()
        self.share, self.seed_generator = share, keras.random.SeedGenerator(seed)

    def call(self, x):
        return keras.random.dropout(x, self.share, seed=self.seed_generator)


def with_dropout(share=0.1):
    """Return the shipped network with a share of the values left out in every block."""
    plain, seeds = layers.Conv2D, count()

    def convolution(width, size, **options):
        made = plain(width, size, **options)
        if not options["name"].endswith("conv_2"):
            return made
        return lambda x: made(AlwaysDropout(share, next(seeds))(x))

    with mock.patch.object(layers, "Conv2D", convolution):
        spoilt = make_model()
    for variable, value in zip(spoilt.trainable_variables, load_pretrained().weights, strict=True):
        variable.assign(value)
    return spoilt


MADE = {"narrower": narrower, "dropout": with_dropout}

if __name__ == "__main__":
    main()
