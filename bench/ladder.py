"""The ladder: what each idea of the recipe buys, the same CPU time for each rung.

    python bench/ladder.py [--minutes 10] [--seed 0] [RUNG ...]

Every rung trains for so many CPU minutes (the first step, which compiles, is not counted) and draws
2,000 pictures in 16 steps: alone, and guided by its own average of a third of the way. The distance
to the training cars is there to choose by, that to the held-out cars is the one of chapter 7. Adds
a row to results/ladder.json and ten pictures to results/ladder.png for each rung; rungs that are
already there are left out, so the command can be stopped and started again.
"""

import time
from contextlib import nullcontext

import keras
import numpy as np
from PIL import Image
from recording import add_rows, read_arguments

import diffusion_core as core
from diffusion_core.evaluation import compare, frechet_distance, loss_by_noise_level
from diffusion_core.runs.optimizer import AveragingMuon, averaged_weights
from diffusion_core.sources.features import classifier_features

T, PICTURES = 16, 2000


class AveragingAdam(AveragingMuon):
    """The book's optimizer before Muon: every weight goes Adam's way."""

    def is_kernel(self, size):
        return False


# Each rung draws its steps by one of these: of (random, n) to n numbers from 0 to below T.
def logistic_normal(random, n):
    """Esser et al. 2024, arXiv:2403.03206, equation 19."""
    return T / (1 + np.exp(-random.standard_normal(n)))


def middle_steps(random, n):
    return np.minimum(np.rint(logistic_normal(random, n)), T - 1)


def every_level(random, n):
    return np.where(random.random(n) < 0.2, T * random.random(n), logistic_normal(random, n))


NAIVE = {
    "network": {"residual": False},
    "average": False,  # draw with the averaged weights
    "flips": False,
    # Of the share of the time that is used up, and of the steps so far: the article's.
    "rate": lambda share, step: 8e-4 * 0.9 ** (step // 5000),
    "loss": "mean_absolute_error",
    "steps": lambda random, n: random.integers(T, size=n),
    "optimizer": AveragingAdam,
}
RESIDUAL = {**NAIVE, "network": {}}
AVERAGED = {**RESIDUAL, "average": True}
FLIPPED = {**AVERAGED, "flips": True}
FALLING = {**FLIPPED, "rate": lambda share, step: 4e-3 * (1 - share)}
EVERY_LEVEL = {**FALLING, "steps": every_level}
RUNGS = {
    "our U-Net, naive answer": NAIVE,
    "the residual step": RESIDUAL,
    "averaged weights": AVERAGED,
    "flips": FLIPPED,
    "learning rate: linear to zero": FALLING,
    "mean squared error": {**FALLING, "loss": "mean_squared_error"},
    "half as wide again": {**FALLING, "network": {"widths": (48, 96, 192)}},
    "noise levels: the middle steps more often": {**FALLING, "steps": middle_steps},
    "noise levels: every one, the middle more often": EVERY_LEVEL,
    "Muon": {**EVERY_LEVEL, "optimizer": AveragingMuon},
}


def train_for(seconds, rung, seed, images):
    """Train for so many CPU seconds; return the network, an earlier one, and what it took."""
    keras.utils.set_random_seed(seed)
    network, weak, strong = (core.make_model(**rung["network"]) for _ in range(3))
    network.compile(rung["optimizer"](4e-3), rung["loss"], jit_compile=True)
    random, n = np.random.default_rng([seed, 7]), 64
    steps, used, start = 0, 0.0, None
    for until, kept in ((seconds / 3, weak), (seconds, strong)):
        while used < until:
            network.optimizer.learning_rate.assign(rung["rate"](used / seconds, steps))
            batch = images[random.integers(len(images), size=n)]
            flip = (random.random(n) < 0.5)[:, None, None, None] & rung["flips"]
            batch = np.where(flip, batch[:, :, ::-1], batch)
            t, noise = rung["steps"](random, n), random.standard_normal(batch.shape, "f4")
            x_t, answer = core.forward_noise(batch, t, noise=noise)
            levels = (core.linear_schedule().at(at)[1] for at in (t[:, None], t[:, None] + 1))
            network.train_on_batch([x_t, *levels], answer)
            steps += 1
            start = start or time.process_time()
            used = time.process_time() - start
        with averaged_weights(network) if rung["average"] else nullcontext():
            kept.set_weights(network.get_weights())
    about = {"steps": steps, "images per CPU second": round(steps * n / used)}
    return strong, weak, about | {"CPU minutes": round(used / 60, 2)}


def main() -> None:
    arguments = read_arguments(__doc__, RUNGS, minutes=10.0, seed=0)
    training, held_out = core.load_cars(), core.load_cars("test")
    reference, sheet = classifier_features(training), arguments.results / "ladder.png"

    def measure(setting):
        rung, seed = RUNGS[setting["rung"]], setting["seed"]
        network, weak, row = train_for(60 * arguments.minutes, rung, seed, core.normalize(training))
        for kind, w in (("guided by 2", 2), ("alone", 1)):
            pictures = core.denormalize(core.predict(core.guided(network, weak, w), PICTURES))
            distance = frechet_distance(classifier_features(pictures), reference)
            row[f"{kind}, to the training cars"] = distance
        loss = loss_by_noise_level(network, core.normalize(held_out[:250]))
        row["held-out loss"] = float(loss.mean())
        row |= compare(pictures, held_out)
        strips = [np.asarray(Image.open(sheet))] if sheet.exists() else []
        strips.append(np.concatenate(pictures[:10], axis=1))
        Image.fromarray(np.concatenate(strips)).save(sheet, optimize=True)
        return row

    arguments.results.mkdir(parents=True, exist_ok=True)
    settings = [{"rung": name, "seed": arguments.seed} for name in arguments.what]
    add_rows("ladder", settings, measure, arguments.results)


if __name__ == "__main__":
    main()
