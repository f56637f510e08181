"""Measure how far backends and precisions lead apart: results/backends.json.

    python bench/backends.py --torch-python PYTHON

A row holds the shipped network's largest differences from TensorFlow in float32, over all pixels,
from the same weights and noise; it is one process on the CPU. PyTorch is not among the book's pins;
name the Python of an environment that has it beside them.
"""

import sys
import tempfile

import keras
import numpy as np
from process import SEED, run_child
from recording import run_benches, write_results

import diffusion_core as core
from diffusion_core.runs.optimizer import averages

RUNS = {
    "TensorFlow": ("tensorflow", "float32"),
    "JAX": ("jax", "float32"),
    "PyTorch": ("torch", "float32"),
    "TensorFlow, mixed_float16": ("tensorflow", "mixed_float16"),
    "TensorFlow, mixed_bfloat16": ("tensorflow", "mixed_bfloat16"),
}
PICTURES, STEPS, BATCH_SIZE = 16, 3, 16


def precision(arguments) -> None:
    """Hold every backend and precision against the first."""
    rows, reference = [], {}
    for name, (backend, policy) in RUNS.items():
        python = arguments.torch_python if backend == "torch" else sys.executable
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/answers.npz"
            environment = {"KERAS_BACKEND": backend}
            call = f"answer({policy!r}, {file!r})"
            version = run_child(python, "backends", call, environment)["version"]
            with np.load(file) as answers:
                found = dict(answers)
        reference = reference or found
        row = {"what": name, "version": version} | dict.fromkeys(reference, "not trained")
        for quantity, values in found.items():
            row[quantity] = f"{np.abs(values - reference[quantity]).max():.1e}"
        rows.append(row)
    about = {"pictures": PICTURES, "training_steps": STEPS, "batch_size": BATCH_SIZE, "seed": SEED}
    write_results("backends", rows, arguments.results, **about)


def answer(policy: str, file: str) -> dict:
    """Ask the shipped network everything that is compared, and write the answers to a file."""
    keras.config.set_dtype_policy(policy)
    network = core.load_pretrained()
    keras.config.set_dtype_policy("float32")
    cars = core.normalize(core.load_cars(source="stand-in")[:BATCH_SIZE])
    question, right = core.draw_batch(cars, core.linear_schedule(), seed=SEED, step=0)
    forward = keras.ops.convert_to_numpy(network(question))
    answers = {"forward pass": forward, "loss": np.abs(forward - right).mean()}
    answers["16-step drawing"] = core.predict(network, PICTURES, seed=SEED)
    backend = keras.backend.backend()
    if backend != "torch":
        core.compile_model(network, 100)
        answers["training losses"] = [core.train_one(network, cars) for _ in range(STEPS)]
        averaged = [keras.ops.convert_to_numpy(a).ravel() for a in averages(network)]
        answers["averaged weights"] = np.concatenate(averaged)
    np.savez(file, **answers)
    return {"version": sys.modules[backend].__version__}


if __name__ == "__main__":
    run_benches([precision], __doc__, torch_python=sys.executable)
