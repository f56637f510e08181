"""Measure, in one run and in turns: training against the article's network, and drawing.

    make bench

Writes results/speed.json. Every figure is the median of the rounds; seed 0 throughout.
"""

import statistics
import time

import keras
import numpy as np
from article import make_article_model
from recording import write_results

from diffusion_core import (
    compile_model,
    draw_batch,
    gaussian_noise,
    linear_schedule,
    make_model,
    predict,
)

ROUNDS = 7
# Training takes about as long as one step of the article's network, so that neither is cold.
OUR_IMAGES = 1920


def main() -> None:
    keras.utils.set_random_seed(0)
    contestants = [
        trainer
        for xla in (True, False)
        for trainer in (ours(xla, 64), ours(xla, 128), article(xla))
    ]
    drawers = [draw_compiled(), draw_with_model_predict()]
    for _, run in contestants + drawers:
        run()  # compiles
    seconds = {name: [] for name, _ in contestants + drawers}
    # In turns, so that a busy moment of the machine hits everybody.
    for _ in range(ROUNDS):
        for name, run in contestants + drawers:
            start = time.perf_counter()
            images = run()
            seconds[name].append((time.perf_counter() - start) / images)
    rows = []
    for group in (contestants, drawers):
        slowest = max(statistics.median(seconds[name]) for name, _ in group)
        for name, _ in group:
            median = statistics.median(seconds[name])
            rows.append(
                {
                    "what": name,
                    "images per second": round(1 / median, 1),
                    "times the slowest": round(slowest / median, 1),
                }
            )
    write_results("speed", rows)


def ours(xla, batch_size):
    model = make_model()
    compile_model(model, 1000)
    model.compile(model.optimizer, model.loss, jit_compile=xla)
    cars = np.random.default_rng(0).uniform(-1, 1, (batch_size, 32, 32, 3)).astype(np.float32)

    def run():
        for step in range(OUR_IMAGES // batch_size):
            question, answer = draw_batch(cars, linear_schedule(), 0, step)
            model.train_on_batch(question, answer)
        return OUR_IMAGES

    return f"training, ours, batch {batch_size}, {'XLA' if xla else 'no XLA'}", run


def article(xla):
    model = make_article_model()
    model.compile(keras.optimizers.Adam(8e-4), "mean_absolute_error", jit_compile=xla)
    images = np.random.default_rng(0).uniform(-1, 1, (128, 32, 32, 3)).astype(np.float32)
    steps = np.zeros((128, 1), np.float32)

    def run():
        model.train_on_batch([images, steps], images)
        return 128

    return f"training, the article's network, batch 128, {'XLA' if xla else 'no XLA'}", run


def draw_compiled():
    model = make_model()

    def run():
        predict(model, 25)
        return 25

    return "drawing, 25 pictures in 16 steps, predict", run


def draw_with_model_predict():
    model = make_model()
    schedule = linear_schedule()

    def run():
        images = gaussian_noise(25)
        for level, next_level in zip(schedule.noise[:-1], schedule.noise[1:], strict=True):
            levels = [np.full((25, 1), a, np.float32) for a in (level, next_level)]
            images = model.predict([images, *levels], verbose=0)
        return 25

    return "drawing, 25 pictures in 16 steps, 16 calls of model.predict", run


if __name__ == "__main__":
    main()
