"""What several test files share: weights to compare, and Python processes of their own."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).parent.parent
PATIENCE = 400


def values(variables):
    """Return copies of variables as NumPy arrays."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assert_same(ours, theirs, tolerance=0):
    """Fail unless two lists of variables or arrays hold the same numbers."""
    for one, other in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@contextmanager
def precision(policy):
    """Make a `with` block in which Keras builds networks under a policy."""
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


# Networks are tiny here: a compiler that takes pains takes most of the time.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def start(script, *arguments, backend, count=1):
    """Start a Python that runs a script on `count` processors, for `answers`."""
    environment = {
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count} {QUICK}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TQDM_DISABLE": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answers(*processes):
    """Wait for processes, none longer than `PATIENCE`; return the JSON on the last line of each."""
    try:
        ends = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, messages) in zip(processes, ends, strict=True):
        assert process.returncode == 0, messages[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in ends]


# In between stands a small process, since a child's peak counts what its parent held.
PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_megabytes(script, *arguments):
    """Run a script in a Python process, and return the most memory that it held."""
    command = [sys.executable, "-c", PEAK, script, *map(str, arguments)]
    surroundings = {**os.environ, "TQDM_DISABLE": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kibibytes = int(ended.stdout) / (1024 if sys.platform == "darwin" else 1)
    return kibibytes / 1024
