"""What several test files share: cars, tiny networks, and a closed door to the internet.

`BAD_INPUT=long` lets Hypothesis try 150 examples of everything, other ones every time; without it a
few are tried, always the same.
"""

import os
import signal
import socket
import tracemalloc
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

# Quiet TensorFlow before anything imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from diffusion_core import load_cars, make_model
from diffusion_core.runs.run import Run

# A shell that starts tests in the background lets them ignore Ctrl-C, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "short",
    max_examples=4,
    derandomize=True,
    database=None,
    # Far more than any example needs on a busy machine, and less than a computation by mistake.
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
short = settings.get_profile("short")
settings.register_profile("long", parent=short, max_examples=150, derandomize=False)
settings.load_profile("long" if os.environ.get("BAD_INPUT") == "long" else "short")


@pytest.fixture(autouse=True)
def closed_network(monkeypatch):
    """Fail any test that reaches for a machine other than this one."""
    look_up = socket.getaddrinfo
    here = ("127.0.0.1", "localhost", "::1", "", None)

    def look_up_here(host, *args, **kwargs):
        if host not in here:
            # This is not an Exception, so no `except` in the code under test can hide it.
            pytest.fail(f"the test reached for the host {host}; tests stay on this machine")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def real_folder():
    """The folder of real CIFAR-10; tests that need it are skipped where there is none."""
    folder = os.environ.get("CIFAR10_DIR", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CIFAR10_DIR names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def cars():
    """uint8 training cars: real ones where CIFAR10_DIR is set, the stand-in otherwise."""
    return load_cars(source=os.environ.get("CIFAR10_DIR") or "stand-in")


@pytest.fixture(scope="session")
def images():
    """Sixteen float32 images of 8×8 pixels in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny():
    """Make a network of two sizes for 8×8 images; the same weights for the same seed."""

    def make(seed=0, **settings):
        keras.utils.set_random_seed(seed)
        return make_model(**{"image_shape": (8, 8, 3), "widths": (4, 8), **settings})

    return make


@pytest.fixture(scope="session")
def one_layer():
    """Make a network that is quick to build, for tests in which training is only pretended."""

    def make(image_shape=(32, 32, 3)):
        question = [keras.Input(shape) for shape in (image_shape, (1,), (1,))]
        seen = [keras.layers.GlobalAveragePooling2D()(question[0]), *question[1:]]
        answer = keras.layers.Dense(3, name="layer")(keras.layers.Concatenate()(seen))
        network = keras.Model(question, answer)
        network.settings = {}
        return network

    return make


@pytest.fixture(scope="session")
def no_xla():
    """Make a `with` block without XLA, which takes most of the time here."""

    @contextmanager
    def block():
        compile_as_asked = keras.Model.compile

        def compile_without(self, *args, **kwargs):
            compile_as_asked(self, *args, **{**kwargs, "jit_compile": False})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keras.Model, "compile", compile_without)
            yield

    return block


@pytest.fixture
def without_xla(no_xla):
    """Skip XLA in a test that is about something else."""
    with no_xla():
        yield


@pytest.fixture
def most_memory():
    """Return the most bytes that NumPy holds during a call."""

    def peak_of(call):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    return peak_of


@pytest.fixture
def patient(monkeypatch):
    """Let training wait until each state is written, so that what is saved is known."""
    save = Run._save_if_due

    def save_and_wait(self, now=False):
        save(self, now)
        self._collect(wait=True)

    monkeypatch.setattr(Run, "_save_if_due", save_and_wait)
