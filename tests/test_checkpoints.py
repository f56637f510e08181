"""Saving, finding and restoring weights, the shipped networks, and writing whole files."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy

from diffusion_core import (
    checkpoints,
    compile_model,
    default_weights_dir,
    files,
    load_history,
    load_pretrained,
    train_one,
    training,
)


def values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def history_of(epochs):
    return {column: [float(i) for i in range(epochs)] for column in training.HISTORY_COLUMNS}


@pytest.fixture(scope="module")
def network(tiny, images, no_xla):
    """A network after three steps, whose average differs from its weights."""
    network = tiny(widths=(4,))
    with no_xla():
        compile_model(network, 10, 1e-2)
        for _ in range(3):
            train_one(network, images, seed=2)
    return network


@pytest.fixture
def fresh(tiny, without_xla):
    """Another network of the same make, with other weights."""
    network = tiny(seed=9, widths=(4,))
    compile_model(network, 10, 1e-2)
    return network


@pytest.fixture
def saved(network, tmp_path):
    return checkpoints.save(network, tmp_path, history=history_of(3), seed=2)


# --- save and restore ---------------------------------------------------------------------------


def test_a_restored_network_takes_the_same_next_step(images, network, fresh, tmp_path):
    path = checkpoints.save(network, tmp_path, history=history_of(3), seed=2)
    before = values(network.weights) + values(network.optimizer.variables)
    about = checkpoints.restore(fresh, path)
    for ours, theirs in zip(
        values(fresh.weights) + values(fresh.optimizer.variables), before, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert int(fresh.optimizer.iterations) == 3
    # Both go on; afterwards the first is put back, since other tests use it.
    loss = train_one(network, images, seed=2)
    assert train_one(fresh, images, seed=about["seed"]) == pytest.approx(loss, rel=1e-6)
    for ours, theirs in zip(values(fresh.weights), values(network.weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    checkpoints.restore(network, path)


def test_what_is_known_of_a_state_comes_back_with_it(network, fresh, saved):
    about = checkpoints.restore(fresh, saved)
    assert about["history"] == history_of(3)
    assert about["seed"] == 2
    assert about["settings"]["widths"] == [4]
    assert about["keras"] == keras.__version__
    assert about["backend"] == keras.backend.backend()


def test_a_state_holds_numbers_and_text_only(saved):
    assert saved.name == "state-000003.safetensors"
    tensors = safetensors.numpy.load_file(saved)
    assert {key.split("/")[0] for key in tensors} == {"weights", "optimizer", "averages"}


def test_the_folder_is_made_when_it_is_missing(network, tmp_path):
    path = checkpoints.save(network, tmp_path / "a" / "b", history=history_of(1), seed=0)
    assert path.is_file()


def test_only_the_last_few_states_are_kept(network, tmp_path):
    for epoch in range(1, checkpoints.KEEP + 3):
        checkpoints.save(network, tmp_path, history=history_of(epoch), seed=0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"state-{epoch:06d}.safetensors" for epoch in (3, 4, 5)]


def test_other_files_in_the_folder_are_left_alone(network, tmp_path):
    others = ["state-best.safetensors", "preview-epoch-001.png", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    for epoch in range(1, 6):
        checkpoints.save(network, tmp_path, history=history_of(epoch), seed=0)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert checkpoints.find_latest(tmp_path).name == "state-000005.safetensors"


def test_the_latest_state_is_the_one_with_most_epochs(network, tmp_path):
    for epoch in (10, 9):
        checkpoints.save(network, tmp_path, history=history_of(epoch), seed=0)
    assert checkpoints.find_latest(tmp_path).name == "state-000010.safetensors"


def test_a_save_that_was_cut_short_is_not_taken_for_a_state(saved):
    (saved.parent / ".state-000004.safetensors.123.tmp").write_bytes(b"half")
    assert checkpoints.find_latest(saved.parent) == saved


@pytest.mark.parametrize("folder", ["empty", "not there"])
def test_there_is_no_latest_state_before_the_first(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert checkpoints.find_latest(tmp_path / folder) is None


def test_a_file_where_the_folder_should_be_is_refused(network, tmp_path):
    file = tmp_path / "weights"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="weights is a file; expected a folder"):
        checkpoints.find_latest(file)
    with pytest.raises(NotADirectoryError, match="weights is a file; expected a folder"):
        checkpoints.save(network, file, history=history_of(1), seed=0)


def damage_half(content):
    return content[: len(content) // 2]


def damage_header(content):
    return b"\xff" * 8 + content[8:]


def damage_no_about(content):
    return safetensors.numpy.save({"a": np.zeros(1)})


def damage_empty(content):
    return b""


@pytest.mark.parametrize("damage", [damage_half, damage_header, damage_no_about, damage_empty])
def test_a_damaged_state_is_refused_and_the_network_unchanged(fresh, saved, damage):
    saved.write_bytes(damage(saved.read_bytes()))
    before = values(fresh.weights)
    with pytest.raises(ValueError, match=r"state-000003.safetensors is not a whole saved state"):
        checkpoints.restore(fresh, saved)
    for ours, theirs in zip(values(fresh.weights), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_of_a_later_format_is_refused(fresh, saved):
    tensors = safetensors.numpy.load_file(saved)
    about = json.dumps({"format": 99})
    safetensors.numpy.save_file(tensors, saved, {"about": about})
    with pytest.raises(ValueError, match="has format 99; this version reads 1"):
        checkpoints.restore(fresh, saved)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (
            {"widths": (8,)},
            r"at weights/time_1|at weights/halve_image/kernel it holds \(2, 2, 3, 4",
        ),
        (
            {"widths": (4, 8)},
            r"at weights/halve_2/kernel it holds nothing, and the model holds \(2, 2",
        ),
        ({"widths": (4,), "blocks": 2}, r"at weights/down_1_2_norm_1/scale it holds nothing"),
        ({"widths": (4,), "residual": False}, r"at weights/time_1/kernel it holds \(1, 128\), and"),
    ],
)
def test_weights_of_another_network_name_the_layer_that_differs(tiny, saved, settings, where):
    network = tiny(**settings)
    compile_model(network, 10)
    before = values(network.weights)
    with pytest.raises(ValueError, match="is of another network: " + where):
        checkpoints.restore(network, saved)
    for ours, theirs in zip(values(network.weights), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_a_deeper_network_name_the_layer_that_is_too_much(tiny, fresh, tmp_path):
    deeper = tiny(widths=(4,), blocks=2)
    compile_model(deeper, 10)
    path = checkpoints.save(deeper, tmp_path, history=history_of(1), seed=0)
    with pytest.raises(ValueError, match=r"is of another network: at weights/(down|up)_1_2"):
        checkpoints.restore(fresh, path)


# --- networks to draw with ----------------------------------------------------------------------


def test_the_network_of_a_folder_has_the_averaged_weights(network, saved):
    loaded = checkpoints.load_weights_dir(saved.parent)
    assert loaded.settings == network.settings
    for ours, theirs in zip(
        values(loaded.weights), values(network.optimizer.averages), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["", "not-there"])
def test_a_folder_without_a_state_is_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="holds no saved state; train into it first"):
        checkpoints.load_weights_dir(tmp_path / name)


def test_an_exported_network_comes_back_in_half_precision(tiny, tmp_path, monkeypatch):
    network = tiny(blocks=2)
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path)
    checkpoints.export(network, tmp_path / "mine.safetensors")
    stored = safetensors.numpy.load_file(tmp_path / "mine.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(np.float16)}
    loaded = load_pretrained("mine")
    assert loaded.settings == network.settings
    for ours, theirs in zip(values(loaded.weights), values(network.weights), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32))


def test_an_unknown_network_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"there is no network 'huge'; expected one of .*small"):
        load_pretrained("huge")


@pytest.mark.parametrize("name", ["../pretrained/small", "small.safetensors", ""])
def test_a_path_is_no_name(name):
    with pytest.raises(ValueError, match="there is no network"):
        load_pretrained(name)


def test_the_history_of_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"there is no .*'huge'"):
        load_history("huge")


def test_the_shipped_network_is_small_and_answers():
    small = load_pretrained()
    assert small.count_params() <= 2_000_000
    assert small.input_shape[0] == (None, 32, 32, 3)
    assert (checkpoints.PRETRAINED / "small.safetensors").stat().st_size <= 4 * 2**20
    column = np.ones((1, 1), np.float32)
    answer = small([np.zeros((1, 32, 32, 3), np.float32), column, 0 * column])
    assert np.isfinite(keras.ops.convert_to_numpy(answer)).all()


def test_the_shipped_network_knows_cars(cars):
    """On real or drawn cars, its guess is nearer to the next picture than no change at all."""
    from diffusion_core import draw_batch, linear_schedule, normalize

    question, answer = draw_batch(normalize(cars[:32]), linear_schedule(), 0, 0)
    guess = keras.ops.convert_to_numpy(load_pretrained()(question))
    assert np.abs(guess - answer).mean() < 0.6 * np.abs(question[0] - answer).mean()


def test_the_shipped_history_is_of_a_run_that_learned():
    history = load_history()
    assert tuple(history) == training.HISTORY_COLUMNS
    assert len({len(column) for column in history.values()}) == 1
    assert history["loss"][-1] < history["loss"][0]


def test_the_shipped_network_is_there_at_earlier_epochs_too():
    names = sorted(path.stem for path in checkpoints.PRETRAINED.glob("small-epoch-*.safetensors"))
    assert len(names) >= 3
    assert load_pretrained(names[0]).settings == load_pretrained().settings


# --- folders and files --------------------------------------------------------------------------


def test_weights_go_to_a_folder_here_without_google_drive(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "DRIVE", tmp_path / "not-mounted")
    assert default_weights_dir() == Path("weights")


def test_weights_go_to_google_drive_when_it_is_mounted(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "DRIVE", tmp_path)
    assert default_weights_dir() == tmp_path / "simple-diffusion" / "weights"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(monkeypatch, tmp_path, failing):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(monkeypatch, tmp_path):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")
    seen = []
    replace = os.replace

    def look_then_replace(source, target):
        seen.append((Path(source).read_bytes(), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_then_replace)
    files.write_atomically(path, b"new")
    assert seen == [(b"new", b"old")]
    assert path.read_bytes() == b"new"


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        files.write_atomically(tmp_path / "file" / "state", b"new")
