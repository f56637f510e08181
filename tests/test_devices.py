"""Several devices and machines: the same batch gives the same losses as on one device."""

import socket
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, answers, assert_same, start

from diffusion_core import __main__ as terminal
from diffusion_core import compile_model, data, predict, train, train_one, training
from diffusion_core.runs import devices

# A tiny network and sixteen random cars, the same in every process.
COMMON = """
import json, shutil, sys, warnings
from functools import partial
from pathlib import Path
import keras
import numpy as np
import diffusion_core
from diffusion_core import make_model, normalize, predict, train
from diffusion_core.runs import devices, states

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
cars = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)
tiny = partial(make_model, (8, 8, 3), (4,))
"""

# The example as it stands, with the tiny network and a callback that draws.
MACHINE = (
    COMMON
    + """
import runpy
sys.argv = sys.argv[1:]
pictures, written, write = [], [], states.write
states.write = lambda *content: (written.append(1), write(*content))[1]
diffusion_core.make_model = tiny
diffusion_core.load_cars = lambda: cars
diffusion_core.train = partial(train, callback=lambda e, m, h: pictures.append(predict(m, 2)))
runpy.run_path(sys.argv[0], run_name="__main__")
try:
    devices.check_same(f"state {sys.argv[-1]}")
    refusal = ""
except ValueError as error:
    refusal = str(error)
print(json.dumps({"written": len(written), "refusal": refusal, "mean": float(pictures[0].mean())}))
"""
)

# One device, two devices, and going on with another number of them.
TWO_DEVICES = (
    COMMON
    + """
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # XLA, which several devices do without here, would take most of the time.
    compile_as_asked = keras.Model.compile
    def compile_without(self, *args, **kwargs):
        compile_as_asked(self, *args, **{**kwargs, "jit_compile": False})
    keras.Model.compile = compile_without

def run(name, count, start=None):
    if start:
        (folder / name).mkdir()
        shutil.copy(start, folder / name)
    keras.utils.set_random_seed(0)
    network = tiny() if count == 1 else devices.spread(tiny(), count)
    images = normalize(cars)
    history = train(network, images, epochs=2, batch_size=4, weights_dir=folder / name)
    return history["loss"], [keras.ops.convert_to_numpy(w) for w in network.weights], network

alone, weights, network = run("alone", 1)
runs = {"together": run("together", 2)}
if (folder / "machines").exists():
    runs["from four to two"] = run("four-to-two", 2, folder / "machines" / sys.argv[2])
else:
    runs["from two to one"] = run("two-to-one", 1, folder / "together" / sys.argv[2])
pictures = np.abs(predict(runs["together"][2], 2) - predict(network, 2)).max()
print(json.dumps({"pictures": float(pictures), **{name: {
    "losses": float(np.abs(np.subtract(losses, alone)).max()),
    "weights": float(max(np.abs(a - b).max() for a, b in zip(found, weights))),
} for name, (losses, found, _) in runs.items()}}))
"""
)
FIRST_EPOCH = "state-000001-000000004.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def machines(folder):
    """Two processes with two devices each: what they say, and the folder they trained into."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    run = ["--first", address, "--machines", 2, "--epochs", 2, "--batch-size", 4]
    run += ["--weights-dir", folder / "machines", "--this"]
    run = [ROOT / "examples" / "several_machines.py", *run]
    return answers(*(start(MACHINE, *run, this, backend="jax", count=2) for this in (0, 1)))


@pytest.fixture(scope="module")
def found(folder, machines, tmp_path_factory):
    """What one and two devices answer on each backend; on JAX, going on where `machines` ended."""
    folders = {"jax": folder, "tensorflow": tmp_path_factory.mktemp("tensorflow")}
    return {
        backend: answers(start(TWO_DEVICES, folder, FIRST_EPOCH, backend=backend, count=2))[0]
        for backend, folder in folders.items()
    }


def test_one_machine_alone_writes_and_all_draw_the_same(machines, folder):
    assert [machine["written"] for machine in machines] == [2, 0]
    states = sorted(path.name for path in (folder / "machines").glob("state-*"))
    assert states == [FIRST_EPOCH, "state-000002-000000008.safetensors"]
    assert machines[0]["mean"] == machines[1]["mean"]


def test_machines_that_found_different_states_all_refuse(machines):
    for number, machine in enumerate(machines):
        assert f"this one state {number}" in machine["refusal"]


@pytest.mark.parametrize(
    ("backend", "changes"),
    [("jax", ("together", "from four to two")), ("tensorflow", ("together", "from two to one"))],
)
def test_any_number_of_devices_takes_the_same_steps_and_draws_the_same(found, backend, changes):
    for change in changes:
        assert found[backend][change]["losses"] < 1e-5
        assert 0 < found[backend][change]["weights"] < 1e-4
    assert found[backend]["pictures"] < 1e-3


def test_the_copy_has_the_same_weights_and_leaves_the_first_alone(tiny):
    network = tiny(widths=(4,))
    copy = devices.spread(network, 1)
    assert hasattr(copy, "placement")
    assert not hasattr(network, "placement")
    assert copy.settings == network.settings
    assert [w.path for w in copy.weights] == [w.path for w in network.weights]
    assert_same(copy.weights, network.weights)


def test_a_count_that_there_is_not_is_named(tiny):
    with pytest.raises(ValueError, match=r"count is 99, and the devices are cpu:0; expected"):
        devices.spread(tiny(), 99)


def test_pytorch_cannot_spread_and_keras_names_no_devices_of_it(tiny, monkeypatch):
    assert devices.device_names()
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.delattr(keras.distribution, "list_devices")
    assert devices.device_names("gpu") == []
    with pytest.raises(ValueError, match=r"the backend is torch.*KERAS_BACKEND"):
        devices.spread(tiny())


@pytest.fixture
def ready(tiny):
    network = tiny(widths=(4,))
    compile_model(network, 1)
    return network


def test_a_batch_that_cannot_be_shared_out_is_refused_at_the_door(ready, images, tmp_path):
    ready.device_count = 3
    with pytest.raises(ValueError, match=r"batch_size is 16, and 3 devices.*multiple of 3"):
        train(ready, images, epochs=1, batch_size=16, weights_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="multiple of 3"):
        train_one(ready, images)


STEPS = """
import json, resource
import numpy as np
from diffusion_core import compile_model, make_model, train_one

network, images = make_model(), np.zeros((64, 32, 32, 3), np.float32)
compile_model(network, 100)
faults = []
for _ in range(4):
    train_one(network, images)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(json.dumps(faults[-1] - faults[-2]))
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="only glibc keeps memory")
def test_a_step_finds_the_memory_that_the_last_one_freed():
    (fetched,) = answers(start(STEPS, backend="tensorflow"))
    assert fetched < 1000  # pages of 4 KiB; 15,000 where every step fetches its own anew


def fail_with(network, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(network, "train_on_batch", fail)
    monkeypatch.setattr(network, "predict_on_batch", fail)


FULL = [
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1234 bytes."),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 5.0 GiB"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_full_memory_names_a_number_to_try(ready, images, monkeypatch, error):
    fail_with(ready, monkeypatch, error)
    with pytest.raises(MemoryError, match="training step of 16 images; try batch_size=8,"):
        train_one(ready, images)
    with pytest.raises(MemoryError, match=r"100 pictures at once; .* n=50"):
        predict(ready, 250)


def test_another_error_of_a_step_stays_what_it_is(ready, images, monkeypatch):
    fail_with(ready, monkeypatch, RuntimeError("INTERNAL: error"))
    with pytest.raises(RuntimeError, match="INTERNAL"):
        train_one(ready, images)


def test_the_batch_to_try_can_be_shared_out(ready, monkeypatch):
    ready.device_count = 4
    fail_with(ready, monkeypatch, MemoryError())
    for size, advice in ((64, "=32,"), (12, "=4,"), (8, "=4,"), (4, "smaller widths")):
        with pytest.raises(MemoryError, match=advice):
            train_one(ready, np.zeros((size, 8, 8, 3), np.float32))


def test_the_terminal_spreads_the_network(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(training, "train", lambda model, *a, **k: trained.append(model))
    monkeypatch.setattr(data, "load_cars", lambda: np.zeros((2, 32, 32, 3), np.uint8))
    command = ["train", "--epochs", "1", "--weights-dir", str(tmp_path)]
    assert terminal.main([*command, "--devices", "1"]) == 0
    assert terminal.main(command) == 0
    assert [hasattr(model, "placement") for model in trained] == [True, False]
