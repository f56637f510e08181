"""What a weaker self buys as a guide: the choice, on training cars alone.

    python bench/guidance.py [--pictures 1000]

Draws the same noises with the shipped network, alone and away from weaker selves by several
strengths, and measures the pictures against the 5,000 training cars, with the difference to the
package's own setting. Adds a row to results/guidance.json for each setting; settings that are
already there are left out. The held-out cars have the last word, once, by
`python -m diffusion_core evaluate --guidance W`.
"""

from functools import cache
from itertools import count

import keras
from keras import layers
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.evaluation import frechet_distance
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.features import COMPARED, classifier_features
from diffusion_core.sources.measures import paired_difference, precision_recall
from diffusion_core.sources.pretrained import GUIDE

OWN = {"weak": f"epoch {int(GUIDE[-3:])}", "w": 3}
STRENGTHS = {"epoch 5": (1.5, 2), "epoch 20": (1.5, 2, 3), OWN["weak"]: (1.5, 2, 3, 4, 5)}
STRENGTHS |= {"narrower": (1.5, 2, 3), "dropout": (1.5, 2)}
SETTINGS = [{"weak": "none", "w": 1}]
SETTINGS += [{"weak": weak, "w": w} for weak, several in STRENGTHS.items() for w in several]
SETTINGS += [{**OWN, "levels": levels} for levels in ([0, 0.8], [0.2, 1])]
SETTINGS += [{**each, "steps": n} for each in ({"weak": "none", "w": 1}, OWN) for n in (8, 32)]


def main() -> None:
    arguments = read_arguments(__doc__, pictures=1000)
    training, n = core.load_cars(), arguments.pictures
    cars = classifier_features(training)
    usual = {"steps": 16, "levels": [0, 1]}
    own = classifier_features(draw(usual | OWN, n))

    def measure(about):
        pictures = draw(about, n)
        features = classifier_features(pictures)
        difference, *interval = paired_difference(frechet_distance, features, own, cars)
        return {
            "frechet distance": frechet_distance(features, cars),
            "further than the package's own": difference,
            "interval": interval,
            "contrast": float(pictures.std()),
            **precision_recall(features[:COMPARED], cars[:COMPARED]),
        }

    settings = [{**usual, **setting, "pictures": n, "seed": 0} for setting in SETTINGS]
    about = {"network": weights_digest(core.load_pretrained())}
    about["training contrast"] = float(training.std())
    add_rows("guidance", settings, measure, arguments.results, **about)


def draw(about, n):
    drawn = core.predict(network(about), n, core.linear_schedule(about["steps"]))
    return core.denormalize(drawn)


@cache
def narrower():
    """Return a network of half the width that saw the cars as often as the guide did."""
    keras.utils.set_random_seed(0)
    model = core.make_model(widths=(16, 32, 64))
    core.train(model, core.normalize(core.load_cars()), epochs=int(GUIDE[-3:]))
    return model


def network(about):
    """Return the network that draws in a row."""
    model, (weak, w) = core.load_pretrained(), (about["weak"], about["w"])
    if weak == "none":
        return model
    saved = f"small-epoch-{weak.removeprefix('epoch '):0>3}"
    weak = MADE[weak]() if weak in MADE else core.load_pretrained(saved)
    inside = core.guided(model, weak, w)
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
    model, seeds = core.load_pretrained(), count()

    def call(layer, x, *more, **options):
        if layer.name.endswith("conv_2"):
            x = AlwaysDropout(share, next(seeds))(x)
        return layer(x, *more, **options)

    spoilt = keras.models.clone_model(model, call_function=call)
    for variable, value in zip(spoilt.trainable_variables, model.weights, strict=True):
        variable.assign(value)
    return spoilt


MADE = {"narrower": narrower, "dropout": with_dropout}

if __name__ == "__main__":
    main()
