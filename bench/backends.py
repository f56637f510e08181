"""Measure how far backends and precisions lead apart, and what sharing a batch out costs.

    python bench/backends.py --torch-python PYTHON      # everything
    python bench/backends.py devices

`precision` writes results/backends.json: the shipped network's largest differences from TensorFlow
in float32, over all pixels, from the same weights and noise. `devices` writes results/scaling.json:
the CPU pretends to be one or two devices, which share its cores, so nothing can become faster; the
figures, in processor time, show what the sharing itself costs. Every row is one process on the CPU.
PyTorch is not among the book's pins; name the Python of an environment that has it beside them.
"""

import sys
import tempfile
import time

import keras
import numpy as np
from process import SEED, run_child
from recording import run_benches, write_results

import diffusion_core as core
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
SHARED_BATCH_SIZE, SHARED_STEPS = 64, 10


def precision(arguments) -> None:
    """Hold every backend and precision against the first."""
    rows = []
    for name, (backend, policy) in RUNS.items():
        python = arguments.torch_python if backend == "torch" else sys.executable
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/answers.npz"
            environment = {"KERAS_BACKEND": backend}
            call = f"answer({policy!r}, {file!r})"
            version = run_child(python, "backends", call, environment)["version"]
            with np.load(file) as answers:
                found = dict(answers)
        if not rows:
            reference = found
        differences = {
            quantity: f"{np.abs(found[quantity] - right).max():.1e}"
            if quantity in found
            else "not trained"
            for quantity, right in reference.items()
        }
        rows.append({"what": name, "version": version, **differences})
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


def devices(arguments) -> None:
    """Compare one and two virtual devices."""
    rows = []
    for backend in ("jax", "tensorflow"):
        for count in (1, 2):
            flags = f"--xla_force_host_platform_device_count={count}"
            environment = {"KERAS_BACKEND": backend, "XLA_FLAGS": flags}
            found = run_child(sys.executable, "backends", f"share({count})", environment)
            row = {"backend": backend, "virtual devices": count}
            row["processor ms an image"] = round(found["milliseconds"], 1)
            rows.append(row | {"loss": round(found["loss"], 5)})
    about = {"batch_size": SHARED_BATCH_SIZE, "steps": SHARED_STEPS, "seed": SEED}
    write_results("scaling", rows, arguments.results, **about)


def share(count: int) -> dict:
    """Train some steps on so many virtual devices, and return the time and the last loss."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        virtual = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, virtual)
    keras.utils.set_random_seed(SEED)
    network = core.make_model() if count == 1 else spread(core.make_model(), count)
    shape = (SHARED_BATCH_SIZE, 32, 32, 3)
    images = np.random.default_rng(SEED).uniform(-1, 1, shape).astype(np.float32)
    core.compile_model(network, 100)
    core.train_one(network, images)  # what compiles does not count
    start = time.process_time()
    for _ in range(SHARED_STEPS):
        loss = core.train_one(network, images)
    seconds = time.process_time() - start
    return {"milliseconds": 1000 * seconds / (SHARED_STEPS * SHARED_BATCH_SIZE), "loss": loss}


if __name__ == "__main__":
    benches = {"precision": precision, "devices": devices}
    torch = {"default": sys.executable, "help": "has PyTorch and this package"}
    run_benches(benches, __doc__, torch_python=torch)
