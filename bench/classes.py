"""What asking louder buys: pictures of all ten classes by every rule of guidance.

    python bench/classes.py [--pictures 1000] [--judged 2000]

Draws the same noises with "ten", told the class, by each rule and strength. Each row of
results/classes.json has the distance to training pictures (by which a rule is chosen), precision,
recall, and the share of pictures that another classifier takes for the class that was asked for:
six convolutions of other widths, trained here, which no measure of this package uses. The held-out
pictures then judge once, over all and class by class: plain drawing, the rule that the package
names, louder ones, the nearest of those by which 85% or more are taken for their class, and
"ten-guided", which learned that one and asks once instead of twice. The test of chapter 7 looks for
copies among the pictures of each class, and among real ones.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import keras
import numpy as np
from keras import layers
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.classes import class_shares
from diffusion_core.evaluation import frechet_distance
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.cifar10 import LABELS
from diffusion_core.sources.copies import copying
from diffusion_core.sources.features import COMPARED, classifier_features
from diffusion_core.sources.measures import paired_difference, precision_recall
from diffusion_core.sources.pretrained import GUIDES

OWN = {"rule": "classifier-free", "w": 2}
RULES = [{"rule": "alone", "w": 1}]
RULES += [{"rule": "classifier-free", "w": w} for w in (1.5, 2, 3, 4)]
RULES += [{"rule": "interval", "w": w} for w in (2, 3)]
RULES += [{"rule": "CFG++", "w": w} for w in (0.4, 0.6)]
RULES += [{"rule": "autoguidance", "w": w} for w in (2, 3)]
CHOSEN = {"rule": "interval", "w": 3}  # of the rows on training pictures
LEARNED = {"rule": "learned", "w": 3}
JUDGED = [RULES[0], OWN, CHOSEN] + [{"rule": "classifier-free", "w": w} for w in (3, 4)]
LOW, HIGH = 0.2, 0.8


def main() -> None:
    arguments = read_arguments(__doc__, pictures=1000, judged=2000)
    (images, labels), n = core.load_classes(), arguments.pictures
    training = classifier_features(images[:10_000])
    own = classifier_features(draw(OWN, n))

    def choose(about):
        pictures = draw(about, n)
        features = classifier_features(pictures)
        difference, *interval = paired_difference(frechet_distance, features, own, training)
        return {
            "frechet distance": frechet_distance(features, training),
            "further than the package's own": difference,
            "interval": interval,
            **precision_recall(features[:COMPARED], training[:COMPARED]),
            "taken for its class": taken(pictures).mean(),
        }

    @cache
    def plain():
        return classifier_features(draw(RULES[0], arguments.judged))

    def judge(about):
        pictures, found = draw(about, arguments.judged), {}
        ours, real = taken(pictures), taken(test)
        features, asked = classifier_features(pictures), np.arange(len(pictures)) % 10
        difference, *interval = paired_difference(frechet_distance, features, plain(), unseen)
        for number, label in enumerate(LABELS):
            of_ours, of_label = asked == number, unseen_labels == number
            clouds = features[of_ours], plain()[of_ours], unseen[of_label]
            further, *ends = paired_difference(frechet_distance, *clouds)
            drawn = pictures[of_ours]
            found[label] = {
                "frechet distance": frechet_distance(features[of_ours], unseen[of_label]),
                "further than alone": further,
                "interval": ends,
                "taken for its class": ours[of_ours].mean(),
                "real ones taken": real[of_label].mean(),
                "copies": float(copying(drawn, images[labels == number])["copied"].mean()),
            }
        return {
            "frechet distance": frechet_distance(features, unseen),
            "further than alone": difference,
            "interval": interval,
            "real training pictures": frechet_distance(floor, unseen),
            **precision_recall(features[:COMPARED], unseen[:COMPARED]),
            "taken for its class": ours.mean(),
            "real ones taken": real.mean(),
            "classes": found,
        }

    about = {"network": weights_digest(network()), "low": LOW, "high": HIGH}
    rules = [{**rule, "against": "train", "pictures": n, "seed": 0} for rule in RULES]
    add_rows("classes", rules, choose, arguments.results, **about)
    test, unseen_labels = core.load_classes("test")
    unseen, floor = classifier_features(test), classifier_features(images[: arguments.judged])
    more = {"against": "held-out", "pictures": arguments.judged, "seed": 0}
    rules = [{**rule, **more} for rule in JUDGED]
    add_rows("classes", rules, judge, arguments.results, **about)

    def judge_learned(about):
        drawn, twice = (draw(rule, arguments.judged) for rule in (LEARNED, CHOSEN))
        clouds = classifier_features(drawn), classifier_features(twice)
        difference, *interval = paired_difference(frechet_distance, *clouds, unseen)
        changed = float(np.abs(drawn.astype(int) - twice).mean())
        return judge(about) | {
            "further than two calls": difference,
            "95% of it": interval,
            "grey levels to two calls": changed,
        }

    rules = [{**LEARNED, "network": weights_digest(network("ten-guided")), **more}]
    add_rows("classes", rules, judge_learned, arguments.results, **about)

    def control(about):
        copies = {}
        for number, label in enumerate(LABELS):
            some = test[unseen_labels == number][: arguments.judged // 10]
            copied = copying(some, images[labels == number])["copied"]
            copies[label] = {"copies": float(copied.mean())}
        return {"classes": copies}

    add_rows("classes", [{"rule": "real", **more}], control, arguments.results, **about)


@cache
def network(name="ten"):
    return core.load_pretrained(name)


def strength(rule: str, w: float) -> Callable:
    """Return the function of two levels that a rule is."""
    if rule == "interval":
        return core.within(w, LOW, HIGH)
    if rule == "learned":
        return lambda a, s: 1
    return core.cfg_plus_plus(w) if rule == "CFG++" else lambda a, s: w


def draw(about, n):
    """Draw the ten classes in turn, a picture of each noise, as uint8."""
    asked = np.stack([class_shares(i % 10) for i in range(n)])
    anything = np.tile(class_shares(None), (n, 1))
    weak = (network(GUIDES["ten"]), asked)
    if about["rule"] != "autoguidance":
        weak = (network(), anything)
    told_by = network("ten-guided" if about["rule"] == "learned" else "ten")
    x, w = core.gaussian_noise(n), strength(about["rule"], about["w"])
    for levels in pairwise(core.linear_schedule().noise):
        columns = [np.full((n, 1), level, np.float32) for level in levels]
        ask = partial(keras.Model.predict, batch_size=250, verbose=0)
        told = ask(told_by, [x, *columns, asked])
        if (here := float(w(*levels))) == 1:
            x = told
            continue
        less = ask(weak[0], [x, *columns, weak[1]])
        x = less + here * (told - less)
    return core.denormalize(x)


@cache
def judge_of_classes() -> keras.Model:
    """Train the classifier that says for what a picture is taken."""
    keras.utils.set_random_seed(1)
    steps = [keras.Input((32, 32, 3)), layers.RandomFlip("horizontal")]
    for width in (32, 64, 128):
        for _ in range(2):
            steps += [layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization()]
            steps += [layers.ReLU()]
        steps += [layers.MaxPooling2D(), layers.Dropout(0.2)]
    steps += [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    model, (images, labels) = keras.Sequential(steps), core.load_classes()
    rate = keras.optimizers.schedules.CosineDecay(2e-3, 5 * len(images) // 128)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(core.normalize(images), labels, batch_size=128, epochs=5, verbose=2)
    return model


def taken(pictures):
    """Return whether each picture is taken for its class, of classes in turn."""
    logits = judge_of_classes().predict(core.normalize(pictures), batch_size=250, verbose=0)
    return logits.argmax(1) == np.arange(len(pictures)) % 10


if __name__ == "__main__":
    main()
