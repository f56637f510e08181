"""The ladder: what each idea of the recipe buys, one change a rung, the same CPU time for each.

    python bench/ladder.py [--minutes 10] [RUNG ...]

Every rung trains for so many CPU minutes (the first step, which compiles, is not counted), draws
2,000 pictures in 16 steps (the article's network 1,000) and measures them against the held-out
cars. Adds a row to results/ladder.json and ten pictures to results/ladder.png for each rung; rungs
that are already there are left out, so the command can be stopped and started again.
"""

import math
import time
from contextlib import nullcontext
from unittest import mock

import keras
import numpy as np
from keras import layers
from keras_peers import draw_article, make_article_model
from PIL import Image
from recording import read_arguments, read_results, write_results

from diffusion_core import denormalize, gaussian_noise, load_cars, make_model, normalize, predict
from diffusion_core import model as model_module
from diffusion_core.evaluation import compare, loss_by_noise_level
from diffusion_core.runs.optimizer import AveragingMuon, averaged_weights

TIMESTEPS = 16


class AveragingAdam(AveragingMuon):
    """The book's optimizer before Muon: every weight goes Adam's way."""

    def is_kernel(self, size):
        return False


def main() -> None:
    minutes = {"type": float, "default": 10, "help": "CPU minutes a rung (10)"}
    arguments = read_arguments(RUNGS, __doc__, minutes=minutes)
    done = [(r["rung"], r["seed"]) for r in read_results("ladder", arguments.results)["rows"]]
    # One seed of every rung comes before the second of any.
    for seed in range(3):
        for name in arguments.what:
            if seed < RUNGS[name].get("seeds", 1) and (name, seed) not in done:
                climb(name, seed, arguments)


def climb(name, seed, arguments):
    """Train one rung and add its rows."""
    rung = DEFAULTS | RUNGS[name]
    keras.utils.set_random_seed(seed)
    network = rung["network"]()
    training = normalize(load_cars("train"))
    about = train_for(arguments.minutes * 60, network, training, rung, seed)
    for row_name, averaged in rows_of(name).items():
        with averaged_weights(network) if averaged else nullcontext():
            add_row({"rung": row_name, "seed": seed, **about}, network, arguments.results)


def rows_of(name):
    """Return the names of the rows that a rung gives, and whether the averaged weights draw."""
    rung = DEFAULTS | RUNGS[name]
    more = {rung["and_averaged"]: True} if "and_averaged" in rung else {}
    return {name: rung["average"], **more}


def add_row(row, network, results):
    """Draw and measure; the new row takes its place in the table, and its pictures theirs."""
    held_out = load_cars("test")
    if network.name == "article":
        pictures, loss = denormalize(draw_article(network, gaussian_noise(1000))), None
    else:
        pictures = denormalize(predict(network, 2000))
        loss = float(loss_by_noise_level(network, normalize(held_out[:250])).mean())
    row |= {"held-out loss": loss, **compare(pictures, held_out)}
    results.mkdir(parents=True, exist_ok=True)
    rows, sheet = read_results("ladder", results)["rows"], results / "ladder.png"
    strips = np.split(np.asarray(Image.open(sheet)), len(rows)) if rows else []
    placed = [*zip(rows, strips, strict=True), (row, np.concatenate(pictures[:10], axis=1))]
    names = [name for rung in RUNGS for name in rows_of(rung)]
    placed.sort(key=lambda pair: (names.index(pair[0]["rung"]), pair[0]["seed"]))
    rows, strips = zip(*placed, strict=True)
    Image.fromarray(np.concatenate(strips)).save(sheet, optimize=True)
    write_results("ladder", rows, results)


def train_for(seconds, network, images, rung, seed):
    """Train for so many CPU seconds; the learning rate may follow the share that is used up."""
    network.compile(AveragingAdam(4e-3), rung["loss"], jit_compile=True)
    random = np.random.default_rng([seed, 7])
    batch_size, steps = rung["batch_size"], 0
    used, start = 0.0, None
    while used < seconds:
        rate = rung["learning_rate"](used / seconds, steps)
        network.optimizer.learning_rate.assign(rate)
        batch = images[random.integers(len(images), size=batch_size)]
        if rung["flips"]:
            flip = random.random(batch_size) < 0.5
            batch = np.where(flip[:, None, None, None], batch[:, :, ::-1], batch)
        network.train_on_batch(*question(batch, network, rung, random))
        steps += 1
        start = start or time.process_time()
        used = time.process_time() - start
    speed = round(steps * batch_size / used)
    return {"steps": steps, "images per CPU second": speed, "CPU minutes": round(used / 60, 2)}


def question(batch, network, rung, random):
    """Return `[x_t, noise_level, next_noise_level]` and `x_{t+1}`; a step is always 1/16."""
    levels = rung["levels"](random, len(batch)).astype(np.float32)[:, None, None, None]
    noise = random.standard_normal(batch.shape, dtype=np.float32)
    x_t = (1 - levels) * batch + levels * noise
    answer = x_t + (batch - noise) / TIMESTEPS
    levels = levels.reshape(-1, 1)
    if network.name == "article":
        return [x_t, (1 - levels) * TIMESTEPS], answer
    return [x_t, levels, levels - np.float32(1 / TIMESTEPS)], answer


def more_in_the_middle(random, n):
    """The logistic of a normal number (Esser et al. 2024, arXiv:2403.03206, equation 19)."""
    return 1 / (1 + np.exp(-random.standard_normal(n)))


def middle_steps(random, n):
    """The levels above, each moved to the nearest of the 16 steps."""
    return np.maximum(np.rint(TIMESTEPS * more_in_the_middle(random, n)), 1) / TIMESTEPS


def with_attention():
    """Self-attention after every block at 8×8 and 4×4 (Ho et al. 2020 have it at 16×16)."""
    plain_block = model_module._block

    def block(x, time, width, name):
        x = plain_block(x, time, width, name)
        if x.shape[1] > 8:
            return x
        tokens = layers.Reshape((-1, width))(layers.RMSNormalization()(x))
        mixed = layers.MultiHeadAttention(4, width // 4)(tokens, tokens)
        return layers.Add()([x, layers.Reshape(x.shape[1:])(mixed)])

    with mock.patch.object(model_module, "_block", block):
        return make_model()


def with_dropout():
    """A tenth of the values left out before the second convolution of every block."""
    plain = layers.Conv2D

    def convolution(width, size, **options):
        made = plain(width, size, **options)
        if not options["name"].endswith("conv_2"):
            return made
        return lambda x: made(layers.Dropout(0.1)(x))

    with mock.patch.object(layers, "Conv2D", convolution):
        return make_model()


DEFAULTS = {
    "average": True,  # draw with the averaged weights; a rung may add a row that does
    "network": make_model,
    "batch_size": 64,
    "flips": True,
    # Of the share of the time that is used up, and of the steps so far.
    "learning_rate": lambda share, step: 4e-3 * (1 - share),
    "loss": "mean_absolute_error",
    "levels": lambda random, n: 1 - random.integers(TIMESTEPS, size=n) / TIMESTEPS,
}
ARTICLES_RATE = {"learning_rate": lambda share, step: 8e-4 * 0.9 ** (step // 5000)}
EARLY = {"average": False, "flips": False, **ARTICLES_RATE}
RUNGS = {
    "the article's network and rule": {**EARLY, "network": make_article_model, "batch_size": 128},
    "our U-Net, naive answer": {
        **EARLY,
        "network": lambda: make_model(residual=False),
        "seeds": 3,
    },
    "the residual step": {**EARLY, "seeds": 3, "and_averaged": "averaged weights"},
    "flips": ARTICLES_RATE,
    "learning rate: cosine": {
        "learning_rate": lambda share, step: 2e-3 * (1 + math.cos(math.pi * share))
    },
    "learning rate: warm-up, then linear to zero": {
        "learning_rate": lambda share, step: 4e-3 * min(share / 0.05, (1 - share) / 0.95)
    },
    "linear to zero, not averaged": {
        "average": False,
        "seeds": 3,
        "and_averaged": "learning rate: linear to zero",
    },
    "mean squared error": {"loss": "mean_squared_error", "seeds": 3},
    "half the learning rate": {"learning_rate": lambda share, step: 2e-3 * (1 - share)},
    "noise levels: uniform": {"levels": lambda random, n: random.uniform(0, 1, n)},
    "noise levels: more in the middle": {"levels": more_in_the_middle, "seeds": 2},
    "noise levels: the middle steps more often": {"levels": middle_steps},
    "half as wide again": {"network": lambda: make_model(widths=(48, 96, 192))},
    "twice the blocks": {"network": lambda: make_model(blocks=2)},
    "attention at 8×8 and 4×4": {"network": with_attention},
    "dropout": {"network": with_dropout},
}

if __name__ == "__main__":
    main()
