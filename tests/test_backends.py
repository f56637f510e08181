"""The same code on JAX: the same weights and noise give the same pictures and the same loss."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from diffusion_core import compile_model, predict, train_one

ROOT = Path(__file__).parent.parent

OTHER_BACKEND = """
import json, sys
import keras
import numpy as np
from diffusion_core import compile_model, make_model, predict, train_one

folder = sys.argv[1]
given = np.load(f"{folder}/given.npz")
network = make_model((8, 8, 3), (4,))
network.set_weights([given[f"weight_{i}"] for i in range(len(network.weights))])
pictures = predict(network, 3, seed=5)
compile_model(network, 10, 1e-3)
losses = [train_one(network, given["images"], seed=7) for _ in range(2)]
averages = [np.asarray(a) for a in network.optimizer.averages]
np.savez(f"{folder}/found.npz", pictures=pictures,
         **{f"average_{i}": a for i, a in enumerate(averages)})
print(json.dumps({"backend": keras.backend.backend(), "losses": losses,
                  "tensorflow": "tensorflow" in sys.modules}))
"""


@pytest.fixture(scope="module")
def both(tiny, images, no_xla, tmp_path_factory):
    """What this backend and JAX answer from the same weights."""
    if keras.backend.backend() == "jax":
        pytest.skip("this run is on JAX itself")
    folder = tmp_path_factory.mktemp("backends")
    network = tiny(widths=(4,))
    weights = {f"weight_{i}": w for i, w in enumerate(network.get_weights())}
    np.savez(folder / "given.npz", images=images, **weights)
    with no_xla():
        here = {"pictures": predict(network, 3, seed=5)}
        compile_model(network, 10, 1e-3)
        here["losses"] = [train_one(network, images, seed=7) for _ in range(2)]
    here["averages"] = [keras.ops.convert_to_numpy(a) for a in network.optimizer.averages]
    result = subprocess.run(
        [sys.executable, "-c", OTHER_BACKEND, str(folder)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    there = json.loads(result.stdout.splitlines()[-1])
    found = np.load(folder / "found.npz")
    there["pictures"] = found["pictures"]
    there["averages"] = [found[f"average_{i}"] for i in range(len(here["averages"]))]
    return here, there


def test_jax_runs_without_tensorflow(both):
    assert both[1]["backend"] == "jax"
    assert not both[1]["tensorflow"]


def test_jax_draws_the_same_pictures(both):
    here, there = both
    np.testing.assert_allclose(there["pictures"], here["pictures"], rtol=0, atol=1e-4)


def test_jax_takes_the_same_training_steps(both):
    here, there = both
    np.testing.assert_allclose(there["losses"], here["losses"], rtol=1e-4)


def test_jax_keeps_the_same_average(both):
    here, there = both
    for ours, theirs in zip(here["averages"], there["averages"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
