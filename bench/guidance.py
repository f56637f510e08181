"""What a weaker self buys as a guide: the choice, on training cars alone.

    python bench/guidance.py [--pictures 2000]

Draws the same noises with the shipped network, alone and away from weaker selves by several
strengths, and measures the pictures against the 5,000 training cars. Adds a row to
results/guidance.json for each setting; settings that are already there are left out. The held-out
cars have the last word, once, by `python -m diffusion_core evaluate --guidance W`.
"""

import argparse
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
    predict,
)
from diffusion_core.evaluation import frechet_distance
from diffusion_core.sources.features import COMPARED, classifier_features
from diffusion_core.sources.measures import precision_recall
from diffusion_core.sources.pretrained import weights_digest

STRENGTHS = {5: (1.5, 2, 3), 20: (1.5, 2, 2.5, 3), 100: (1.5, 2, 2.5, 3, 3.5, 4, 5)}
SETTINGS = [{"weak": "none", "w": 1}]
SETTINGS += [{"weak": f"epoch {e}", "w": w} for e, several in STRENGTHS.items() for w in several]
SETTINGS += [{"weak": "dropout", "w": w} for w in (1.5, 2, 3)]
SETTINGS += [
    {"weak": "epoch 100", "w": 3, "levels": levels} for levels in ([0, 0.8], [0.2, 0.9], [0.2, 1])
]
SETTINGS += [{"weak": "none", "w": 1, "steps": steps} for steps in (4, 8, 32)]
SETTINGS += [{"weak": "epoch 100", "w": 3, "steps": steps} for steps in (4, 8, 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    weights = weights_digest(load_pretrained())
    saved = read_results("guidance", options.results)
    rows = saved["rows"] if saved.get("network") == weights else []
    training = load_cars()
    cars, about_cars = classifier_features(training), {"training contrast": float(training.std())}
    for setting in SETTINGS:
        about = {"steps": 16, "levels": [0, 1], **setting, "pictures": options.pictures, "seed": 0}
        if any(about.items() <= row.items() for row in rows):
            continue
        schedule, noise = linear_schedule(about["steps"]), gaussian_noise(about["pictures"])
        pictures = denormalize(predict(network(about), schedule=schedule, noise=noise))
        features = classifier_features(pictures)
        measured = {
            "frechet distance": frechet_distance(features, cars),
            "contrast": float(pictures.std()),
            **precision_recall(features[:COMPARED], cars[:COMPARED]),
        }
        rows.append(about | measured)
        write_results("guidance", rows, options.results, network=weights, **about_cars)


def network(about):
    """Return the network that draws in a row."""
    model, (weak, w) = load_pretrained(), (about["weak"], about["w"])
    if weak == "none":
        return model
    earlier = f"small-epoch-{weak.removeprefix('epoch '):0>3}"
    inside = guided(model, with_dropout() if weak == "dropout" else load_pretrained(earlier), w)
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


if __name__ == "__main__":
    main()
