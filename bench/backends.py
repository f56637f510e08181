"""Measure how far backends and precisions lead apart, from the same weights and the same noise.

    python bench/backends.py --torch-python PYTHON

Writes results/backends.json. Every row is one process with the shipped network, on the CPU: its
largest differences from TensorFlow in float32, over all pixels. PyTorch is not among the book's
pins; name the Python of an environment that has it beside them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from recording import write_results

RUNS = {
    "TensorFlow": ("tensorflow", "float32"),
    "JAX": ("jax", "float32"),
    "PyTorch": ("torch", "float32"),
    "TensorFlow, mixed_float16": ("tensorflow", "mixed_float16"),
    "TensorFlow, mixed_bfloat16": ("tensorflow", "mixed_bfloat16"),
}
PICTURES, STEPS, BATCH_SIZE = 16, 3, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--torch-python", default=sys.executable, help="has PyTorch and this package"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        answer(*options.child)
        return
    rows = []
    for name, (backend, precision) in RUNS.items():
        python = options.torch_python if backend == "torch" else sys.executable
        found = ask(python, backend, precision)
        about = json.loads(str(found.pop("about")))
        if not rows:
            reference = found
        differences = {
            quantity: f"{np.abs(found[quantity] - reference[quantity]).max():.1e}"
            if quantity in found
            else "not trained"
            for quantity in reference
        }
        rows.append({"what": name, **about, **differences})
    write_results(
        "backends",
        rows,
        pictures=PICTURES,
        training_steps=STEPS,
        batch_size=BATCH_SIZE,
        seed=0,
    )


def ask(python: str, backend: str, precision: str) -> dict[str, np.ndarray]:
    """Return the answers of one process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.npz"
        subprocess.run(
            [python, __file__, "--child", precision, str(file)],
            env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            timeout=1800,
        )
        with np.load(file) as answers:
            return dict(answers)


def answer(precision: str, file: str) -> None:
    """Ask the shipped network everything that is compared, and write the answers to a file."""
    import keras

    from diffusion_core import (
        checkpoints,
        compile_model,
        draw_batch,
        linear_schedule,
        load_cars,
        load_pretrained,
        normalize,
        predict,
        train_one,
    )

    keras.config.set_dtype_policy(precision)
    network = load_pretrained()
    keras.config.set_dtype_policy("float32")
    cars = normalize(load_cars(source="stand-in")[:BATCH_SIZE])
    question, right = draw_batch(cars, linear_schedule(), seed=0, step=0)
    forward = keras.ops.convert_to_numpy(network(question))
    answers = {"forward pass": forward, "loss": np.abs(forward - right).mean()}
    answers["16-step drawing"] = predict(network, PICTURES, seed=0)
    if keras.backend.backend() != "torch":
        compile_model(network, 100)
        answers["training losses"] = [train_one(network, cars) for _ in range(STEPS)]
        averages = [keras.ops.convert_to_numpy(a).ravel() for a in checkpoints.averages(network)]
        answers["averaged weights"] = np.concatenate(averages)
    backend = keras.backend.backend()
    np.savez(file, about=json.dumps({"version": sys.modules[backend].__version__}), **answers)


if __name__ == "__main__":
    main()
