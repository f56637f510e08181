"""Train the classifier whose features `evaluation` uses, and ship its weights.

    python tools/classifier.py

Needs all ten classes of CIFAR-10 (see `load_images`). Writes to
diffusion_core/pretrained/classifier/: weights.safetensors (float16) and about.json (how it was
made, and its accuracy).
"""

import hashlib
import json
import time

import keras
import numpy as np

from diffusion_core import load_images, normalize
from diffusion_core.page.machine import describe_machine
from diffusion_core.runs.files import write_atomically
from diffusion_core.runs.states import export
from diffusion_core.sources.cifar10 import LABELS
from diffusion_core.sources.features import make_classifier
from diffusion_core.sources.pretrained import PRETRAINED

EPOCHS = 10
BATCH_SIZE = 128
LEARNING_RATE = 0.1
# Keras shrinks the weights outside the momentum, so this is ten times what other libraries call it.
WEIGHT_DECAY = 5e-3
SEED = 0


def main() -> None:
    """Train, measure, write."""
    keras.utils.set_random_seed(SEED)
    images, labels = load_all("train")
    model = make_classifier()
    steps = EPOCHS * (len(images) // BATCH_SIZE)
    warm_up = {"warmup_target": LEARNING_RATE, "warmup_steps": steps // 5}
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE / 10, steps - steps // 5, **warm_up)
    optimizer = keras.optimizers.SGD(rate, 0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    learner = keras.Model(model.input, model.output[1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True)
    start, cpu = time.perf_counter(), time.process_time()
    for epoch in range(EPOCHS):
        learner.fit(*shuffled(images, labels, epoch), batch_size=BATCH_SIZE, verbose=2)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu

    path = PRETRAINED / "classifier" / "weights.safetensors"
    export(model, path)
    _, accuracy = learner.evaluate(*load_all("test"), batch_size=500, verbose=0)
    about = {
        "command": "python tools/classifier.py",
        "data": "the 50,000 training images of CIFAR-10, flipped and shifted up to 4 pixels",
        "epochs": EPOCHS,
        "seed": SEED,
        "parameters": model.count_params(),
        "minutes": round(seconds / 60, 1),
        "cpu minutes": round(cpu_seconds / 60, 1),
        "accuracy on the 10,000 test images": round(accuracy, 4),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "machine": describe_machine(),
    }
    write_atomically(path.with_name("about.json"), (json.dumps(about, indent=1) + "\n").encode())
    print(about)


def load_all(split):
    """Return the images of all ten classes, normalized, and their labels."""
    images = [load_images(label, split) for label in LABELS]
    labels = np.repeat(np.arange(10), [len(part) for part in images])
    return normalize(np.concatenate(images)), labels


def shuffled(images, labels, epoch):
    """Return whole batches in a new order, each image shifted and maybe flipped."""
    # Keras' own layers draw other numbers, so the shipped weights could not be made again.
    random = np.random.default_rng([SEED, epoch])
    order = random.permutation(len(images))[: len(images) // BATCH_SIZE * BATCH_SIZE]
    padded = np.pad(images[order], ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    rows, columns = random.integers(9, size=(2, len(order)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
    moved = windows[np.arange(len(order)), rows, columns].transpose(0, 2, 3, 1)
    flip = random.random(len(order)) < 0.5
    moved[flip] = moved[flip, :, ::-1]
    return moved, labels[order]


if __name__ == "__main__":
    main()
