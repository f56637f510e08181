"""Measure what sharing a batch out costs, on virtual devices.

    python bench/scaling.py

Writes results/scaling.json. One machine's CPU pretends to be one or two devices, which share
its cores, so nothing can become faster here: the figures show what the sharing itself costs. They
are processor times, so that other work on the machine does not count. One process for each row,
the network of the book, batches of 64; the first steps, which compile, are not counted.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
from recording import write_results

BATCH_SIZE, WARM_UP, STEPS = 64, 1, 10


def main() -> None:
    rows = []
    for backend in ("jax", "tensorflow"):
        for count in (1, 2):
            child = subprocess.run(
                [sys.executable, __file__, str(count)],
                env=os.environ
                | {
                    "KERAS_BACKEND": backend,
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
                },
                capture_output=True,
                text=True,
                check=True,
                timeout=1800,
            )
            found = json.loads(child.stdout.splitlines()[-1])
            rows.append({"backend": backend, "virtual devices": count, **found})
    write_results("scaling", rows, batch_size=BATCH_SIZE, steps=STEPS, seed=0)


def measure(count: int) -> None:
    """Train some steps on so many virtual devices, and print the time and the last loss."""
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    import keras

    from diffusion_core import compile_model, make_model, train_one
    from diffusion_core.devices import spread

    keras.utils.set_random_seed(0)
    network = make_model() if count == 1 else spread(make_model(), count)
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH_SIZE, 32, 32, 3)).astype(np.float32)
    compile_model(network, 100)
    for _ in range(WARM_UP):
        train_one(network, images)
    start = time.process_time()
    for _ in range(STEPS):
        loss = train_one(network, images)
    milliseconds = 1000 * (time.process_time() - start) / (STEPS * BATCH_SIZE)
    print(json.dumps({"processor ms an image": round(milliseconds, 1), "loss": round(loss, 5)}))


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
