"""Saving, finding and restoring weights, the shipped networks, and writing whole files."""

import os
import re
import warnings
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
    make_model,
    tensorfile,
    train_one,
    training,
)


def values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def history_of(epochs):
    return {column: [float(i) for i in range(epochs)] for column in training.HISTORY_COLUMNS}


CONFIGURATION = {"seed": 2, "batch_size": 16, "widths": (4,)}


def save(network, folder, epochs=3, **more):
    progress = {
        "history": history_of(epochs),
        "losses": [0.1, 1 / 3],
        "seconds": 1.5,
        "epochs": 9,
        "configuration": CONFIGURATION,
        **more,
    }
    return checkpoints.write(folder, *checkpoints.snapshot(network, progress))


def write_plain(folder, epochs, step, value=0.0):
    """Write a state without a network, which is all that finding one needs."""
    about = {"history": history_of(epochs), "step": step}
    return checkpoints.write(folder, {"weights/w": np.full((4, 5), value, np.float32)}, about)


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
    return save(network, tmp_path)


# --- save and restore ---------------------------------------------------------------------------


def test_a_restored_network_takes_the_same_next_step(images, network, fresh, tmp_path):
    path = save(network, tmp_path)
    before = values(network.weights) + values(network.optimizer.variables)
    about = checkpoints.restore(fresh, path)
    for ours, theirs in zip(
        values(fresh.weights) + values(fresh.optimizer.variables), before, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert int(fresh.optimizer.iterations) == 3
    # Both go on; afterwards the first is put back, since other tests use it.
    loss = train_one(network, images, seed=2)
    assert train_one(fresh, images, seed=about["configuration"]["seed"]) == pytest.approx(
        loss, rel=1e-6
    )
    for ours, theirs in zip(values(fresh.weights), values(network.weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    checkpoints.restore(network, path)


def test_what_is_known_of_a_state_comes_back_with_it(network, fresh, saved):
    about = checkpoints.restore(fresh, saved)
    assert about["history"] == history_of(3)
    assert about["losses"] == [0.1, 1 / 3]
    assert (about["seconds"], about["epochs"], about["step"]) == (1.5, 9, 3)
    assert about["configuration"]["seed"] == 2
    assert about["settings"]["widths"] == [4]
    assert about["format"] == 2
    assert about["versions"]["keras"] == keras.__version__
    assert keras.backend.backend() in about["versions"]
    assert checkpoints.read_about(saved) == about


def test_a_state_holds_numbers_and_text_only(saved):
    assert saved.name == "state-000003-000000003.safetensors"
    tensors = safetensors.numpy.load_file(saved)
    assert {key.split("/")[0] for key in tensors} == {"weights", "optimizer", "averages"}


def test_everything_is_stored_once(network, saved):
    tensors = safetensors.numpy.load_file(saved)
    assert len(tensors) == len(network.weights) + len(network.optimizer.variables)
    weights = sum(weight.size for weight in values(network.weights))
    # Weights, averages and Adam's two slots, and a step and perhaps a rate beside them.
    assert 0 <= sum(tensor.size for tensor in tensors.values()) - 4 * weights <= 2


def test_a_snapshot_does_not_follow_the_network(network, images, tmp_path):
    path = save(network, tmp_path)
    tensors, _ = checkpoints.snapshot(network, {})
    before = {key: tensor.copy() for key, tensor in tensors.items()}
    train_one(network, images, seed=2)
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, before[key], err_msg=key)
    checkpoints.restore(network, path)


def test_a_missing_folder_is_not_made(network, tmp_path):
    with pytest.raises(FileNotFoundError):
        save(network, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_only_the_last_few_states_are_kept(tmp_path):
    for epoch in range(1, checkpoints.KEEP + 3):
        write_plain(tmp_path, epoch, 10 * epoch)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"state-{e:06d}-{10 * e:09d}.safetensors" for e in (3, 4, 5)]


def test_an_old_state_goes_only_after_the_new_one_was_read_back(tmp_path, monkeypatch):
    for epoch in range(1, checkpoints.KEEP + 1):
        write_plain(tmp_path, epoch, epoch)
    before = sorted(tmp_path.iterdir())
    replace = os.replace

    def write_badly(source, target):
        Path(source).write_bytes(Path(source).read_bytes()[:-1] + b"?")
        replace(source, target)

    monkeypatch.setattr(os, "replace", write_badly)
    with pytest.raises(OSError, match=r"000000004.safetensors reads back other than it was writ"):
        write_plain(tmp_path, 4, 4)
    assert set(before) <= set(tmp_path.iterdir())


def test_states_that_stand_later_are_not_counted_and_not_removed(tmp_path):
    later = [write_plain(tmp_path, epoch, epoch) for epoch in (7, 8, 9)]
    for epoch in range(1, 6):
        assert write_plain(tmp_path, epoch, epoch).is_file()
    assert all(path.is_file() for path in later)


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = [
        "state-best.safetensors",
        "state-000001-000000001.safetensors.bak",
        "._state-000099-000000099.safetensors",
        "epoch-001.safetensors",
        "preview-epoch-001.png",
        "Icon\r",
        ".hidden",
        "notes.txt",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    for epoch in range(1, 6):
        write_plain(tmp_path, epoch, epoch)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.find_latest(tmp_path).name == "state-000005-000000005.safetensors"


@pytest.mark.parametrize(
    "places", [[(10, 100), (9, 999)], [(2, 20), (2, 9)], [(1_000_000, 5), (999_999, 6)]]
)
def test_the_latest_state_is_the_one_furthest_in_the_run(tmp_path, places):
    """Files are written in the other order, so that times of files say the opposite."""
    expected, _ = paths = [write_plain(tmp_path, *place) for place in places]
    for path, time in zip(paths, (1e9, 2e9), strict=True):
        os.utime(path, (time, time))
    assert checkpoints.find_latest(tmp_path) == expected


def test_a_save_that_was_cut_short_is_not_taken_for_a_state(tmp_path):
    path = write_plain(tmp_path, 3, 3)
    (tmp_path / ".state-000004-000000004.safetensors.123.tmp").write_bytes(b"half")
    assert checkpoints.find_latest(tmp_path) == path


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    rest = [".state-000004-000000004.safetensors.123.tmp", ".preview-epoch-001.png.7.tmp"]
    mine = [
        ".cars.png.7.tmp",
        "state-1.7.tmp",
        ".state-1.tmp",
        "state-000001-000000001.safetensors",
    ]
    for name in rest + mine:
        (tmp_path / name).write_text("")
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(mine)


@pytest.mark.parametrize("folder", ["empty", "not there"])
def test_there_is_no_latest_state_before_the_first(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert checkpoints.find_latest(tmp_path / folder) is None


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    file = tmp_path / "weights"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="weights is a file; expected a folder"):
        checkpoints.find_latest(file)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_not_written(tmp_path, value):
    good = write_plain(tmp_path, 1, 1)
    with pytest.raises(ValueError, match="after step 2 some weights are NaN or infinite"):
        write_plain(tmp_path, 2, 2, value)
    assert list(tmp_path.iterdir()) == [good]


# --- damage -------------------------------------------------------------------------------------


def is_damaged(path, content):
    path.write_bytes(content)
    try:
        tensorfile.read(path)
    except tensorfile.DamagedError:
        return True
    return False


@pytest.fixture
def packed():
    """A file with names, nested text and a few thousand bytes of numbers."""
    random = np.random.default_rng(0)
    tensors = {f"weights/{i}": random.standard_normal((20, 9)).astype(np.float32) for i in "abc"}
    return tensorfile.pack(tensors, {"settings": {"widths": [4]}, "text": 'a "sha256": "0" in it'})


def header_length(content):
    return 8 + int.from_bytes(content[:8], "little")


def test_a_whole_file_is_no_damaged_one(packed, tmp_path):
    assert not is_damaged(tmp_path / "file", packed)


def test_the_same_numbers_and_text_make_the_same_file(packed, tmp_path):
    (tmp_path / "file").write_bytes(packed)
    assert tensorfile.pack(*tensorfile.read(tmp_path / "file")) == packed


def test_a_file_cut_at_any_of_two_hundred_lengths_is_damaged(packed, tmp_path):
    lengths = np.linspace(0, len(packed) - 1, 200).astype(int)
    assert len(set(lengths)) == 200
    whole = [length for length in lengths if not is_damaged(tmp_path / "file", packed[:length])]
    assert whole == []


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_changed_byte_anywhere_is_damage(packed, tmp_path, part):
    """Every byte of the header, one thousand of the body; each with one bit and with all bits."""
    places = np.arange(header_length(packed))
    if part == "body":
        body = np.arange(header_length(packed), len(packed))
        places = np.random.default_rng(1).choice(body, 1000, replace=False)
    whole = []
    for place in places:
        for flip in (1 << (place % 8), 255):
            content = bytearray(packed)
            content[place] ^= flip
            if not is_damaged(tmp_path / "file", bytes(content)):
                whole.append((place, flip))
    assert whole == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (20).to_bytes(8, "little") + b'{"__metadata__":null}',
        (6000).to_bytes(8, "little") + b"[" * 3000 + b"]" * 3000,
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"\x80\x04cos\nsystem\n(S'touch stolen'\ntR.",
        safetensors.numpy.save({"a": np.zeros(1)}),
        safetensors.numpy.save({"a": np.zeros(1)}, {"about": "[]"}),
        safetensors.numpy.save({"a": np.zeros(1)}, {"about": '{"format": "2"}'}),
        safetensors.numpy.save({"a": np.zeros(1)}, {"about": '{"format": 2}'}),
        safetensors.numpy.save({"a": np.zeros(1)}, {"about": '{"format": 2, "sha256": "00"}'}),
        safetensors.numpy.save({"a": np.zeros(1)}, {"about": '{"format": 2, "sha256": 1}'}),
    ],
)
def test_another_file_is_no_state(tmp_path, content):
    assert is_damaged(tmp_path / "file", content)


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_other(path):
    (path.parent / "other.png").write_bytes(b"\x89PNG")
    (path.parent / "other.png").replace(path)


def damage_folder(path):
    path.unlink()
    path.mkdir()
    (path / "file").write_text("")


DAMAGES = [damage_half, damage_bit, damage_empty, damage_other, damage_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_passed_over_with_a_warning_and_kept(tmp_path, damage):
    good, newest = (write_plain(tmp_path, 3, step) for step in (30, 31))
    damage(newest)
    with pytest.warns(UserWarning, match=r"state-000003-000000031.safetensors is not a whole sav"):
        assert checkpoints.find_latest(tmp_path) == good
    assert newest.exists()


def test_several_damaged_states_are_passed_over_each_with_a_warning(tmp_path):
    good, *others = (write_plain(tmp_path, 3, step) for step in (30, 31, 32))
    for path in others:
        damage_half(path)
    with pytest.warns(UserWarning, match="passed over") as warned:
        assert checkpoints.find_latest(tmp_path) == good
    assert [re.search(r"0000000(\d\d)\.", str(w.message)).group(1) for w in warned] == ["32", "31"]


def test_a_missing_newest_state_leaves_the_one_before(tmp_path):
    good, newest = (write_plain(tmp_path, 3, step) for step in (30, 31))
    newest.unlink()
    assert checkpoints.find_latest(tmp_path) == good


def test_a_run_does_not_start_anew_by_itself_when_all_states_are_damaged(tmp_path):
    for step in (30, 31):
        damage_half(write_plain(tmp_path, 3, step))
    with (
        pytest.warns(UserWarning, match="not a whole saved state"),
        pytest.raises(ValueError, match=r"none of the 2 states in .* is whole; move them away"),
    ):
        checkpoints.find_latest(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_set_aside_before_its_name_is_used_again(tmp_path, damage):
    good, newest = (write_plain(tmp_path, 3, step) for step in (30, 31))
    damage(newest)
    checkpoints.set_aside(good)
    assert write_plain(tmp_path, 3, 31) == newest
    assert (tmp_path / f"damaged-{newest.name}").exists()
    assert checkpoints.find_latest(tmp_path) == newest


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_and_the_network_unchanged(fresh, saved, damage):
    damage(saved)
    before = values(fresh.weights)
    with pytest.raises(ValueError, match=r"3-000000003.safetensors is not a whole saved state"):
        checkpoints.restore(fresh, saved)
    for ours, theirs in zip(values(fresh.weights), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_that_cannot_be_read_now_is_neither_passed_over_nor_called_damaged(
    tmp_path, monkeypatch
):
    write_plain(tmp_path, 1, 1)
    newest = write_plain(tmp_path, 2, 2)
    read_bytes = Path.read_bytes

    def read(path):
        if path == newest:
            raise OSError(107, "Transport endpoint is not connected")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(OSError, match="not connected"):
        checkpoints.find_latest(tmp_path)


def test_a_state_of_a_later_format_is_refused_and_not_passed_over(tmp_path):
    write_plain(tmp_path, 1, 1)
    newest = write_plain(tmp_path, 2, 2)
    newest.write_bytes(tensorfile.pack({"weights/w": np.zeros(3)}, {"format": 99}))
    for read in (checkpoints.read_about, lambda path: checkpoints.find_latest(path.parent)):
        with pytest.raises(ValueError, match=r"has format 99; this version reads 2\. Update"):
            read(newest)


# --- configurations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, r"another run: seed is 3 and was 2\. Give what it was to go on, or another"),
        ({"batch_size": 8, "seed": 0}, r"run: seed is 0 and was 2; batch_size is 8 and was 16\."),
        ({"widths": (4, 8)}, r"run: widths is \[4, 8\] and was \[4\]\."),
        ({"new": True}, r"run: new is True and was None\."),
        ({"batch_size": list(range(50))}, r"run: batch_size is \[0, 1, .*\.\.\.\] and was 16\."),
    ],
)
def test_another_configuration_is_refused_with_the_settings_that_differ(saved, change, message):
    with pytest.raises(ValueError, match=message):
        checkpoints.check_configuration(saved, {**CONFIGURATION, **change})


def test_the_same_configuration_passes_without_a_word(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoints.check_configuration(saved, CONFIGURATION)


def test_other_versions_give_a_warning(saved, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.99")
    with pytest.warns(UserWarning, match=r"now keras 3.99 \(was 3\.\d+.*\). Training goes on, but"):
        checkpoints.check_configuration(saved, CONFIGURATION)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (
            {"widths": (8,)},
            r"at weights/time_1|at weights/halve_image/kernel it holds \(2, 2, 3, 4",
        ),
        (
            {"widths": (4, 8)},
            r"at weights/down_1_1_norm_1/scale it holds nothing, and the model holds \(4,",
        ),
        ({"widths": (4,), "blocks": 2}, r"at weights/middle_3_norm_1/scale it holds nothing"),
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
    path = save(deeper, tmp_path)
    with pytest.raises(ValueError, match=r"is of another network: at weights/middle_[34]"):
        checkpoints.restore(fresh, path)


# --- networks to draw with ----------------------------------------------------------------------


def test_the_network_of_a_folder_has_the_averaged_weights(network, saved):
    loaded = checkpoints.load_weights_dir(saved.parent)
    assert loaded.settings == network.settings
    for ours, theirs in zip(
        values(loaded.weights), values(network.optimizer.averages), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_averaged_weights_alone_go_to_keras_own_format_and_come_back(saved, tmp_path):
    network = checkpoints.load_weights_dir(saved.parent)
    network.save_weights(tmp_path / "cars.weights.h5")
    loaded = make_model(**network.settings)
    loaded.load_weights(tmp_path / "cars.weights.h5")
    for ours, theirs in zip(values(loaded.weights), values(network.weights), strict=True):
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
    assert (checkpoints.PRETRAINED / "small.safetensors").stat().st_size <= 4_000_000
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


def test_a_missing_folder_can_be_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_atomically(tmp_path / "away" / "file", b"new", make_folder=False)
    assert list(tmp_path.iterdir()) == []


def test_file_and_folder_are_flushed_to_the_disk(tmp_path, monkeypatch):
    flushed = []
    flush = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (flushed.append(os.fstat(handle).st_ino), flush(handle))
    )
    files.write_atomically(tmp_path / "file", b"new")
    assert flushed == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


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
