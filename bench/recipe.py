"""Which recipe for the next long run: candidates after equal CPU time, judged by training cars.

    python bench/recipe.py [--minutes 20] [--seed 0] [CANDIDATE ...]

Each candidate trains for so many CPU minutes from the same seed and draws from the same noises:
alone, and guided by its own average of a third of the way. Adds a row to results/recipe.json for
each; those that are already there are left out.
"""

import argparse
import time
from pathlib import Path
from unittest import mock

import keras
import numpy as np
from keras import layers
from ladder import AveragingAdam
from recording import RESULTS, read_results, write_results

from diffusion_core import (
    denormalize,
    guided,
    linear_schedule,
    load_cars,
    make_model,
    normalize,
    predict,
)
from diffusion_core.evaluation import frechet_distance
from diffusion_core.runs.optimizer import AveragingMuon, averaged_weights
from diffusion_core.sources.features import classifier_features

T = 16


# Each candidate draws its levels by one of these: of (random, n) to n numbers in (0, 1].
def logistic_normal(random, n, spread=1.0):
    return 1 / (1 + np.exp(-spread * random.standard_normal(n)))


def middle_steps(random, n):
    return np.maximum(np.rint(T * logistic_normal(random, n)), 1) / T


def mixed(random, n):
    return np.where(random.random(n) < 0.2, 1 - random.random(n), logistic_normal(random, n))


def without_biases(**settings):
    plain, double = layers.Conv2D, layers.Conv2DTranspose

    def conv(width, size, **options):
        return plain(width, size, use_bias=False, **options)

    def transposed(width, size, **options):
        return double(width, size, use_bias=options["name"] == "direction", **options)

    with (
        mock.patch.object(layers, "Conv2D", conv),
        mock.patch.object(layers, "Conv2DTranspose", transposed),
    ):
        return make_model(**settings)


CONTINUOUS = {"levels": lambda random, n: logistic_normal(random, n)}
WIDE = {"levels": lambda random, n: logistic_normal(random, n, 1.5)}
MIXED = {"levels": mixed}
CANDIDATES = {
    "today": {},
    "continuous": CONTINUOUS,
    "continuous, spread 1.5": WIDE,
    "continuous, a fifth uniform": MIXED,
    "no biases": {**MIXED, "network": without_biases},
    "no biases, batch 128": {**MIXED, "network": without_biases, "batch": 128, "rate": 5.6e-3},
    "no biases, Muon": {**MIXED, "network": without_biases, "optimizer": AveragingMuon},
    "no biases, Muon, rate 8e-3": {
        **MIXED,
        "network": without_biases,
        "optimizer": AveragingMuon,
        "rate": 8e-3,
    },
    "Muon": {**MIXED, "optimizer": AveragingMuon},
    "no biases, half as wide again": {
        **MIXED,
        "network": lambda: without_biases(widths=(48, 96, 192)),
    },
    "no biases, two blocks": {**MIXED, "network": lambda: without_biases(blocks=2)},
    "no biases, rate 6e-3": {**MIXED, "network": without_biases, "rate": 6e-3},
}


def question(batch, levels, noise):
    """Levels (n,); one step is 1/T, or what is left of the way."""
    a = levels.astype(np.float32).reshape(-1, 1)
    after = np.maximum(a - np.float32(1 / T), 0)
    at = lambda level: (1 - level[..., None, None]) * batch + level[..., None, None] * noise  # noqa: E731
    return [at(a), a, after], at(after)


def train_for(seconds, name, seed, images):
    candidate = {
        "network": make_model,
        "batch": 64,
        "rate": 4e-3,
        "optimizer": AveragingAdam,
        "levels": middle_steps,
    } | CANDIDATES[name]
    keras.utils.set_random_seed(seed)
    network = candidate["network"]()
    network.compile(
        candidate["optimizer"](candidate["rate"]), "mean_absolute_error", jit_compile=True
    )
    random = np.random.default_rng([seed, 7])
    used, start, losses, weak, n = 0.0, None, [], None, candidate["batch"]
    while used < seconds:
        network.optimizer.learning_rate.assign(candidate["rate"] * (1 - used / seconds))
        batch = images[random.integers(len(images), size=n)]
        flip = random.random(n) < 0.5
        batch = np.where(flip[:, None, None, None], batch[:, :, ::-1], batch)
        levels, noise = candidate["levels"](random, n), random.standard_normal(batch.shape, "f4")
        losses.append(float(network.train_on_batch(*question(batch, levels, noise))))
        start = start or time.process_time()
        used = time.process_time() - start
        if weak is None and used > 0.3 * seconds:
            with averaged_weights(network):
                weak = network.get_weights()
    with averaged_weights(network):
        strong = network.get_weights()
    weak_network, network = candidate["network"](), candidate["network"]()
    weak_network.set_weights(weak)
    network.set_weights(strong)
    return (
        network,
        weak_network,
        {
            "parameters": network.count_params(),
            "steps": len(losses),
            "images per CPU second": round(len(losses) * n / used),
            "training loss": float(np.mean(losses[-200:])),
        },
    )


def main():
    """Train and judge the candidates that have no row yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="CPU minutes a candidate (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    parser.add_argument("candidates", nargs="*", default=list(CANDIDATES), help="all when none")
    options = parser.parse_args()
    cars = load_cars()
    reference = classifier_features(cars)
    rows = read_results("recipe", options.results)["rows"]
    for name in options.candidates:
        if (name, options.seed) in [(row["candidate"], row["seed"]) for row in rows]:
            continue
        network, weak, report = train_for(60 * options.minutes, name, options.seed, normalize(cars))
        row = {"candidate": name, "seed": options.seed, "CPU minutes": options.minutes, **report}
        runs = {"16 steps": (network, 16, options.pictures)}
        runs["16 steps, guided by 2"] = guided(network, weak, 2), 16, options.pictures
        runs |= {f"{k} steps": (network, k, options.pictures // 2) for k in (4, 64)}
        for what, (drawer, steps, pictures) in runs.items():
            drawn = denormalize(predict(drawer, pictures, linear_schedule(steps)))
            row[what] = frechet_distance(classifier_features(drawn), reference)
        rows.append(row)
        write_results("recipe", rows, options.results)


if __name__ == "__main__":
    main()
