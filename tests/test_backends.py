"""The same code on JAX and PyTorch: the same weights and noise give the same answers."""

import importlib.util
import shutil

import keras
import numpy as np
import pytest
from helpers import answers, start

from diffusion_core import compile_model, draw_batch, linear_schedule, predict, train, train_one

FIRST_EPOCH = "state-000001-000000002.safetensors"

OTHER_BACKEND = """
import json, sys, warnings
import keras
import numpy as np
from diffusion_core import compile_model, make_model, predict, train, train_one

warnings.simplefilter("ignore")
folder, trains = sys.argv[1], sys.argv[2] == "trains"
given = np.load(f"{folder}/given.npz")

def make():
    network = make_model((8, 8, 3), (4,))
    network.set_weights([given[f"weight_{i}"] for i in range(len(network.weights))])
    return network

network = make()
question = [given[f"question_{i}"] for i in range(3)]
found = {"forward": keras.ops.convert_to_numpy(network(question)),
         "pictures": predict(network, 3, seed=5)}
about = {"backend": keras.backend.backend(), "tensorflow": "tensorflow" in sys.modules}
if trains:
    compile_model(network, 10, 1e-3)
    about["losses"] = [train_one(network, given["images"], seed=7) for _ in range(2)]
    for i, average in enumerate(network.optimizer.averages):
        found[f"average_{i}"] = np.asarray(average)
    settings = {"epochs": 2, "batch_size": 8}
    about["whole"] = train(make(), given["images"], **settings,
                           weights_dir=f"{folder}/there")["loss"]
    about["continued"] = train(make(), given["images"], **settings,
                               weights_dir=f"{folder}/here-to-there")["loss"]
np.savez(f"{folder}/found.npz", **found)
print(json.dumps(about))
"""


@pytest.fixture(scope="module")
def here(tiny, images, no_xla, tmp_path_factory):
    """What this backend answers, and the weights that it had."""
    folder = tmp_path_factory.mktemp("here")
    network = tiny(widths=(4,))
    question, answer = draw_batch(images, linear_schedule(), seed=7, step=0)
    found = {"weights": network.get_weights(), "question": question, "answer": answer}
    with no_xla():
        found["forward"] = keras.ops.convert_to_numpy(network(question))
        found["pictures"] = predict(network, 3, seed=5)
        compile_model(network, 10, 1e-3)
        found["losses"] = [train_one(network, images, seed=7) for _ in range(2)]
        found["averages"] = [keras.ops.convert_to_numpy(a) for a in network.optimizer.averages]
        whole = train(tiny(widths=(4,)), images, epochs=2, batch_size=8, weights_dir=folder)
    return found | {"whole": whole["loss"], "folder": folder}


def ask(backend, here, images, folder, trains):
    """Return what another backend answers from the same weights."""
    if keras.backend.backend() == backend:
        pytest.skip(f"this run is on {backend} itself")
    given = {f"weight_{i}": weight for i, weight in enumerate(here["weights"])}
    given |= {f"question_{i}": part for i, part in enumerate(here["question"])}
    np.savez(folder / "given.npz", images=images, **given)
    (folder / "here-to-there").mkdir()
    shutil.copy(here["folder"] / FIRST_EPOCH, folder / "here-to-there")
    part = "trains" if trains else "draws"
    (about,) = answers(start(OTHER_BACKEND, folder, part, backend=backend))
    return about | dict(np.load(folder / "found.npz")) | {"folder": folder}


@pytest.fixture(scope="module")
def jax(here, images, tmp_path_factory):
    return ask("jax", here, images, tmp_path_factory.mktemp("jax"), trains=True)


@pytest.fixture(scope="module")
def torch(here, images, tmp_path_factory):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed here; the book's pins leave it out")
    return ask("torch", here, images, tmp_path_factory.mktemp("torch"), trains=False)


@pytest.fixture(params=["jax", "torch"])
def there(request):
    return request.getfixturevalue(request.param)


def test_another_backend_gives_the_same_answer_without_tensorflow(here, there):
    assert there["backend"] != "tensorflow"
    assert not there["tensorflow"]
    np.testing.assert_allclose(there["forward"], here["forward"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(there["pictures"], here["pictures"], rtol=0, atol=1e-4)
    losses = [np.abs(found["forward"] - here["answer"]).mean() for found in (here, there)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_jax_takes_the_same_training_steps_and_keeps_the_same_average(here, jax):
    np.testing.assert_allclose(jax["losses"], here["losses"], rtol=1e-4)
    for number, average in enumerate(here["averages"]):
        np.testing.assert_allclose(jax[f"average_{number}"], average, rtol=0, atol=1e-4)


def test_a_run_of_this_backend_goes_on_under_jax(here, jax):
    assert jax["continued"][0] == here["whole"][0]  # read from the state; the second is computed
    np.testing.assert_allclose(jax["continued"], here["whole"], rtol=1e-4)


def test_a_run_of_jax_goes_on_under_this_backend(jax, tiny, images, without_xla, tmp_path):
    shutil.copy(jax["folder"] / "there" / FIRST_EPOCH, tmp_path)
    with pytest.warns(UserWarning, match="written with other versions"):
        history = train(tiny(widths=(4,)), images, epochs=2, batch_size=8, weights_dir=tmp_path)
    assert history["loss"][0] == jax["whole"][0]
    np.testing.assert_allclose(history["loss"], jax["whole"], rtol=1e-4)
