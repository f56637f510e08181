"""Measure how far backends and precisions lead apart, and what sharing a batch out costs.

    python bench/backends.py --torch-python PYTHON      # everything
    python bench/backends.py devices

`precision` writes results/backends.json: the shipped network's largest differences from TensorFlow
in float32, over all pixels, from the same weights and noise. `devices` writes results/scaling.json:
the CPU pretends to be one or two devices, which share its cores, so nothing can become faster; the
figures, in processor time, show what the sharing itself costs. Every row is one process on the CPU.
PyTorch is not among the book's pins; name the Python of an environment that has it beside them.
"""

import argparse
import json
import sys
import tempfile
import time

import keras
import numpy as np
from process import report, run_child
from recording import read_arguments, write_results

from diffusion_core import (
    compile_model,
    draw_batch,
    linear_schedule,
    load_cars,
    load_pretrained,
    make_model,
    normalize,
    predict,
    train_one,
)
from diffusion_core.runs.averaging import averages
from diffusion_core.runs.devices import spread

RUNS = {
    "TensorFlow": ("tensorflow", "float32"),
    "JAX": ("jax", "float32"),
    "PyTorch": ("torch", "float32"),
    "TensorFlow, mixed_float16": ("tensorflow", "mixed_float16"),
    "TensorFlow, mixed_bfloat16": ("tensorflow", "mixed_bfloat16"),
}
PICTURES, STEPS, BATCH_SIZE = 16, 3, 16
SHARED_BATCH_SIZE, SHARED_WARM_UP, SHARED_STEPS = 64, 1, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--torch-python", default=sys.executable, help="has PyTorch and this package"
    )
    arguments = read_arguments(parser, BENCHES)
    for what in arguments.what:
        BENCHES[what](arguments)


def precision(arguments) -> None:
    """Hold every backend and precision against the first."""
    rows = []
    for name, (backend, policy) in RUNS.items():
        python = arguments.torch_python if backend == "torch" else sys.executable
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/answers.npz"
            environment = {"KERAS_BACKEND": backend}
            about = run_child(python, "backends.py", "answer", policy, environment, file=file)
            with np.load(file) as answers:
                found = dict(answers)
        if not rows:
            reference = found
        differences = {
            quantity: f"{np.abs(found[quantity] - reference[quantity]).max():.1e}"
            if quantity in found
            else "not trained"
            for quantity in reference
        }
        rows.append({"what": name, "version": about["version"], **differences})
    about = {"pictures": PICTURES, "training_steps": STEPS, "batch_size": BATCH_SIZE, "seed": 0}
    write_results("backends", rows, arguments.results, **about)


def answer(policy: str, file: str) -> None:
    """Ask the shipped network everything that is compared, and write the answers to a file."""
    keras.config.set_dtype_policy(policy)
    network = load_pretrained()
    keras.config.set_dtype_policy("float32")
    cars = normalize(load_cars(source="stand-in")[:BATCH_SIZE])
    question, right = draw_batch(cars, linear_schedule(), seed=0, step=0)
    forward = keras.ops.convert_to_numpy(network(question))
    answers = {"forward pass": forward, "loss": np.abs(forward - right).mean()}
    answers["16-step drawing"] = predict(network, PICTURES, seed=0)
    backend = keras.backend.backend()
    if backend != "torch":
        compile_model(network, 100)
        answers["training losses"] = [train_one(network, cars) for _ in range(STEPS)]
        averaged = [keras.ops.convert_to_numpy(a).ravel() for a in averages(network)]
        answers["averaged weights"] = np.concatenate(averaged)
    np.savez(file, **answers)
    report(version=sys.modules[backend].__version__)


def devices(arguments) -> None:
    """Compare one and two virtual devices."""
    rows = []
    for backend in ("jax", "tensorflow"):
        for count in (1, 2):
            flags = f"--xla_force_host_platform_device_count={count}"
            environment = {"KERAS_BACKEND": backend, "XLA_FLAGS": flags}
            found = run_child(sys.executable, "backends.py", "share", str(count), environment)
            row = {"backend": backend, "virtual devices": count}
            row["processor ms an image"] = round(found["milliseconds"], 1)
            rows.append(row | {"loss": round(found["loss"], 5)})
    about = {"batch_size": SHARED_BATCH_SIZE, "steps": SHARED_STEPS, "seed": 0}
    write_results("scaling", rows, arguments.results, **about)


def share(count: str) -> None:
    """Train some steps on so many virtual devices, and report the time and the last loss."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        virtual = [tf.config.LogicalDeviceConfiguration()] * int(count)
        tf.config.set_logical_device_configuration(cpu, virtual)
    keras.utils.set_random_seed(0)
    network = make_model() if count == "1" else spread(make_model(), int(count))
    shape = (SHARED_BATCH_SIZE, 32, 32, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    compile_model(network, 100)
    for _ in range(SHARED_WARM_UP):
        train_one(network, images)
    start = time.process_time()
    for _ in range(SHARED_STEPS):
        loss = train_one(network, images)
    seconds = time.process_time() - start
    report(milliseconds=1000 * seconds / (SHARED_STEPS * SHARED_BATCH_SIZE), loss=loss)


BENCHES = {"precision": precision, "devices": devices}
CHILDREN = {"answer": answer, "share": share}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in CHILDREN:
        do, name, request = sys.argv[1:]
        CHILDREN[do](name, **json.loads(request))
    else:
        main()
