"""Does another judge rank the crowds alike? Fréchet distances by a second set of features.

    python bench/second.py [--pictures 1000]

Trains another classifier than the one of the measure: a plain stack of convolutions without
shortcuts, of another seed, on the ten classes. By its features and by the book's it ranks drawn and
spoilt pictures against the held-out cars. Writes results/second.json.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from recording import RESULTS, write_results
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from classifier import load_all, shuffled

from diffusion_core import (
    denormalize,
    guided,
    load_cars,
    load_images,
    load_pretrained,
    normalize,
    predict,
)
from diffusion_core.evaluation import frechet_distance
from diffusion_core.sources.features import COPIES, classifier_features, controls
from diffusion_core.sources.pretrained import GUIDE, weights_digest

EPOCHS, SEED = 8, 1


def train_second():
    """Return the second classifier, with its features before its logits, and its accuracy."""
    keras.utils.set_random_seed(SEED)
    image = x = keras.Input((32, 32, 3))
    for width in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D()(x)
    features = layers.GlobalAveragePooling2D()(x)
    learner = keras.Model(image, layers.Dense(10)(features))
    images, labels = load_all("train")
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(images) // 128)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.AdamW(rate), loss, metrics=["accuracy"], jit_compile=True)
    for epoch in range(EPOCHS):
        learner.fit(*shuffled(images, labels, epoch), batch_size=128, verbose=2)
    _, accuracy = learner.evaluate(*load_all("test"), batch_size=500, verbose=0)
    return keras.Model(image, features), accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args()
    network, weak = load_pretrained(), load_pretrained(GUIDE)
    pair = guided(network, weak)
    crowds = controls(load_cars(), load_images("truck", "test"))
    del crowds[COPIES]
    drawers = {"guided": pair, "alone": network, "the guide alone": weak}
    drawers["epoch 5 alone"] = load_pretrained("small-epoch-005")
    crowds |= {name: denormalize(predict(d, options.pictures)) for name, d in drawers.items()}
    second, accuracy = train_second()
    measures = {
        "book's features": classifier_features,
        "second features": lambda images: second.predict(normalize(images), verbose=0),
    }
    rows = [{"crowd": name, "pictures": len(images)} for name, images in crowds.items()]
    for measure, extract in measures.items():
        reference = extract(load_cars("test"))
        for row, images in zip(rows, crowds.values(), strict=True):
            row[measure] = frechet_distance(extract(images), reference)
    ours, others = (np.array([row[measure] for row in rows]) for measure in measures)
    about = {
        "network": weights_digest(pair),
        "rank correlation": float(spearmanr(ours, others).statistic),
        "second classifier": {
            "what": "six convolutions without shortcuts, AdamW",
            "epochs": EPOCHS,
            "seed": SEED,
            "parameters": second.count_params(),
            "accuracy on the 10,000 test images": round(accuracy, 4),
        },
    }
    rows.sort(key=lambda row: row["book's features"])
    write_results("second", rows, options.results, **about)


if __name__ == "__main__":
    main()
