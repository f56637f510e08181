"""The peers are what bench/peers.py says they are.

    PEER_PYTHON=PYTHON .venv/bin/pytest bench/test_peers.py

PYTHON is the interpreter of an environment with bench/requirements.txt. `make test` leaves this
file out, since that environment is not among the project's pins.
"""

import os
import sys

import keras_peers
import numpy as np
import pytest
from process import run_child

from diffusion_core import make_model

PEER_PYTHON = os.environ.get("PEER_PYTHON", sys.executable)


def test_networks_are_as_large_as_said_and_pytorch_brings_no_keras():
    ours, keras = make_model(), "{'keras': 'keras' in sys.modules}"
    twin = run_child(PEER_PYTHON, "torch_peers", f"sizes(twin()) | {keras}")
    diffusers = run_child(PEER_PYTHON, "torch_peers", "sizes(diffusers())")
    operations = keras_peers.multiply_adds(ours)
    assert (twin["parameters"], twin["multiply_adds"]) == (ours.count_params(), operations)
    assert diffusers["multiply_adds"] == pytest.approx(operations, rel=0.15)
    assert not twin["keras"]
    assert keras_peers.make_ddim_model().count_params() == 1_953_507
    assert keras_peers.make_article_model().count_params() == pytest.approx(3.59e6, rel=0.001)


def test_ddim_starts_where_its_page_does_and_draws_what_the_noise_points_from():
    clean, noise = np.random.default_rng(0).standard_normal((2, 2, 4, 4, 3), np.float32)
    asked = []

    def network(question):
        x, variance = question
        asked.append(float(variance[0, 0, 0, 0]))
        return (x - np.sqrt(1 - variance) * clean) / np.sqrt(variance)

    np.testing.assert_allclose(keras_peers.draw_ddim(network, noise), clean, atol=1e-3)
    assert len(asked) == 16
    assert asked[0] == pytest.approx(1 - 0.02**2, abs=1e-5)


def test_peak_memory_is_the_childs_own_and_a_failing_child_says_why():
    held = np.ones(2**27)  # one gigabyte here, in the parent
    found = run_child(PEER_PYTHON, "process", "matrix_product_rate('numpy')")
    assert 50 < found["peak_megabytes"] < 500
    del held
    with pytest.raises(RuntimeError, match="nobody"):
        run_child(PEER_PYTHON, "torch_peers", "train_some(nobody(), 1)")
