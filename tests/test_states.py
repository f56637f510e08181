"""Saved states and shipped networks: what is in the files, damage, finding, restoring, writing."""

import json
import math
import os
import re
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from helpers import assert_same, values

from diffusion_core import (
    compile_model,
    draw_batch,
    linear_schedule,
    load_pretrained,
    make_model,
    normalize,
    train,
    train_one,
)
from diffusion_core.checks import PATH
from diffusion_core.runs import files, states
from diffusion_core.sources import pretrained


def save(network, folder):
    progress = {"history": {"epoch": [1, 2, 3]}, "losses": [0.1, 1 / 3], "widths": (4,)}
    return states.write(folder, *states.snapshot(network, progress))


def restore(network, path):
    states.restore(states.variables(network), states.read(path)[0], path)


def write_plain(folder, epochs, step, value=0.0):
    """Write a state without a network, which is all that finding one needs."""
    about = {"history": {"epoch": [*range(epochs)]}, "step": step}
    return states.write(folder, {"weights/w": np.full((4, 5), value, np.float32)}, about)


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


def test_a_restored_network_takes_the_same_next_step(images, network, fresh, saved):
    restore(fresh, saved)
    assert_same(fresh.weights, network.weights)
    assert_same(fresh.optimizer.variables, network.optimizer.variables)
    assert int(fresh.optimizer.iterations) == 3
    # Both go on; afterwards the first is put back, since other tests use it.
    copied, _ = states.snapshot(network, {})
    before = {key: tensor.copy() for key, tensor in copied.items()}
    losses = [train_one(one, images, seed=2) for one in (network, fresh)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert_same(fresh.weights, network.weights, tolerance=1e-7)
    assert_same(copied.values(), before.values())  # a copy does not follow the network
    restore(network, saved)


def test_a_state_holds_everything_once_as_numbers_and_text(network, saved):
    tensors, about = states.read(saved)
    assert (about["format"], about["step"], about["losses"]) == (2, 3, [0.1, 1 / 3])
    assert about["widths"] == about["settings"]["widths"] == [4]
    assert saved.name == "state-000003-000000003.safetensors"
    assert {key.split("/")[0] for key in tensors} == {"weights", "optimizer", "averages"}
    assert len(tensors) == len(network.weights) + len(network.optimizer.variables)
    weights = sum(weight.size for weight in values(network.weights))
    # Weights, averages and Adam's two slots, and a step and perhaps a rate beside them.
    assert 0 <= sum(tensor.size for tensor in tensors.values()) - 4 * weights <= 2


def test_an_old_state_goes_only_after_the_new_one_was_read_back(tmp_path, monkeypatch):
    kept = [write_plain(tmp_path, epoch, epoch) for epoch in range(1, states.KEEP + 3)][2:]
    assert sorted(tmp_path.iterdir()) == kept
    replace = os.replace

    def write_badly(source, target):
        Path(source).write_bytes(Path(source).read_bytes()[:-1] + b"?")
        replace(source, target)

    monkeypatch.setattr(os, "replace", write_badly)
    with pytest.raises(OSError, match=r"000000009.safetensors reads back other than it was writ"):
        write_plain(tmp_path, 9, 9)
    assert set(kept) <= set(tmp_path.iterdir())


def test_a_state_that_cannot_be_loaded_again_is_no_state(tmp_path):
    from ml_dtypes import bfloat16

    tensors, about = {"weights/w": np.zeros(3, bfloat16)}, {"step": 1, "history": {"epoch": []}}
    with pytest.raises(OSError, match="state-000000-000000001"):
        states.write(tmp_path, tensors, about)


def test_states_that_stand_later_are_not_counted_and_not_removed(tmp_path):
    later = [write_plain(tmp_path, epoch, epoch) for epoch in (7, 8, 9)]
    for epoch in range(1, 6):
        assert write_plain(tmp_path, epoch, epoch).is_file()
    assert all(path.is_file() for path in later)


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = ["state-best.safetensors", "state-000001-000000001.safetensors.bak", "Icon\r"]
    others += ["._state-000099-000000099.safetensors", "epoch-001.safetensors", ".hidden"]
    for name in others:
        (tmp_path / name).write_text("mine")
    for epoch in range(1, 6):
        write_plain(tmp_path, epoch, epoch)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert states.find_latest(tmp_path).name == "state-000005-000000005.safetensors"


@pytest.mark.parametrize("places", [[(10, 100), (9, 999)], [(1_000_000, 5), (999_999, 6)]])
def test_the_latest_state_is_the_one_furthest_in_the_run(tmp_path, places):
    """Files are written in the other order, so that times of files say the opposite."""
    expected, _ = (write_plain(tmp_path, *place) for place in places)
    assert states.find_latest(tmp_path) == expected


def test_there_is_no_latest_state_before_the_first(tmp_path):
    assert states.find_latest(tmp_path) is states.find_latest(tmp_path / "not there") is None
    with pytest.raises(FileNotFoundError, match="holds no saved state; train into it first"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("below", ["", "runs/first"])
def test_a_file_where_the_folder_should_be_is_refused(one_layer, tmp_path, below):
    file, cars = tmp_path / "weights", np.zeros((4, 32, 32, 3), np.float32)
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="weights is a file; expected a folder"):
        train(one_layer(), cars, epochs=1, batch_size=4, weights_dir=file / below)
    with pytest.raises(NotADirectoryError, match="weights is a file; expected a folder"):
        states.find_latest(file / below)


# --- damage -------------------------------------------------------------------------------------


def is_damaged(path, content):
    path.write_bytes(content)
    try:
        states.read(path)
    except states.DamagedError:
        return True
    return False


@pytest.fixture(scope="module")
def packed():
    """A file with names, nested text and a few thousand bytes of numbers."""
    random = np.random.default_rng(0)
    tensors = {f"weights/{i}": random.standard_normal((20, 9)).astype(np.float32) for i in "abc"}
    return states.pack(tensors, {"settings": {"widths": [4]}, "text": 'a "sha256": "0" in it'})


def test_the_same_numbers_and_text_make_the_same_whole_file(packed, tmp_path):
    assert not is_damaged(tmp_path / "file", packed)
    assert states.pack(*states.read(tmp_path / "file")) == packed


def test_a_file_that_was_cut_or_changed_anywhere_is_damaged(packed, tmp_path):
    """At 200 lengths; in every byte of the header and 500 of the body, with one or all bits."""
    for length in np.linspace(0, len(packed) - 1, 200).astype(int):
        assert is_damaged(tmp_path / "file", packed[:length]), length
    header = 8 + int.from_bytes(packed[:8], "little")
    body = np.random.default_rng(1).choice(len(packed) - header, 500, replace=False) + header
    for place in [*range(header), *body]:
        for flip in (1 << (place % 8), 255):
            content = bytearray(packed)
            content[place] ^= flip
            assert is_damaged(tmp_path / "file", bytes(content)), (place, flip)


def headed(header):
    return len(header).to_bytes(8, "little") + header


def about(text):
    return safetensors.numpy.save({"a": np.zeros(1)}, {"about": text})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (2**63).to_bytes(8, "little") + b"{}",
        headed(b"[]"),
        headed(b'{"__metadata__":null}'),
        headed(b"[" * 3000 + b"]" * 3000),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"\x80\x04cos\nsystem\n(S'touch stolen'\ntR.",
        safetensors.numpy.save({"a": np.zeros(1)}),
        about("[]"),
        about('{"format": 2}'),
        about('{"format": 2, "sha256": ""}'),
        about('{"format": 2, "sha256": 1}'),
    ],
)
def test_another_file_is_no_state(tmp_path, content):
    assert is_damaged(tmp_path / "file", content)


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_states_are_passed_over_each_with_a_warning_and_kept_aside(tmp_path):
    good, folder, newest = (write_plain(tmp_path, 3, step) for step in (30, 31, 32))
    damage(newest)
    folder.unlink()
    folder.mkdir()
    with pytest.warns(UserWarning, match="passed over") as warned:
        assert states.find_latest(tmp_path) == good
    told = [str(warning.message) for warning in warned]
    for text, path in zip(told, (newest, folder), strict=True):
        assert f"{path} is not a whole saved state: " in text
        assert text.endswith(" It is passed over.")
    # They are set aside before their names are used again.
    states.set_aside(good)
    assert {*tmp_path.glob("damaged-*")} == {
        path.with_name(f"damaged-{path.name}") for path in (newest, folder)
    }
    assert write_plain(tmp_path, 3, 32) == newest == states.find_latest(tmp_path)


def test_a_run_does_not_start_anew_by_itself_when_all_is_damaged(tmp_path):
    damage(write_plain(tmp_path, 1, 1))
    with (
        pytest.warns(UserWarning, match="not a whole saved state"),
        pytest.raises(ValueError, match=r"none of the 1 states in .* is whole; move them away"),
    ):
        states.find_latest(tmp_path)


def test_a_state_that_cannot_be_read_now_is_neither_passed_over_nor_called_damaged(
    tmp_path, monkeypatch
):
    def read(path, *_):
        raise OSError(107, "Transport endpoint is not connected")

    write_plain(tmp_path, 1, 1)
    monkeypatch.setattr(states, "read_file", read)
    with pytest.raises(OSError, match="not connected"):
        states.find_latest(tmp_path)


def test_a_state_of_a_later_format_is_refused_and_not_passed_over(tmp_path):
    write_plain(tmp_path, 1, 1)
    newest = write_plain(tmp_path, 2, 2)
    newest.write_bytes(states.pack({"weights/w": np.zeros(3)}, {"format": 99}))
    with pytest.raises(ValueError, match=r"has format 99; this version reads 2\. Update"):
        states.find_latest(tmp_path)


# --- what a file or a folder pretends -----------------------------------------------------------


def test_a_file_that_asks_for_a_network_it_does_not_hold_is_refused_before_it_is_built(
    saved, monkeypatch
):
    """Two hundred bytes could fill the memory."""
    tensors, about = states.read(saved)
    monkeypatch.setattr("diffusion_core.model.make_model", lambda **_: pytest.fail("it is built"))
    good = about["settings"]
    for settings in (
        good | {"widths": [4096] * 6, "blocks": 100},
        good | {"blocks": 10**9},
        good | {"widths": "4"},
        {"widths": [4]},
        None,
    ):
        saved.write_bytes(states.pack(tensors, about | {"settings": settings}))
        with pytest.raises(ValueError, match=r"holds no network of make_model\(.*\); expected one"):
            load_pretrained(saved)


@pytest.mark.parametrize(
    "change", [{"blocks": 1.0}, {"residual": "yes"}, {"more": 1}, {"x" * 10**6: 1}]
)
def test_settings_that_make_model_refuses_name_the_file(saved, change):
    tensors, about = states.read(saved)
    saved.write_bytes(states.pack(tensors, about | {"settings": about["settings"] | change}))
    with pytest.raises(ValueError, match=rf"{saved.name} holds no network of make_model.{{,500}}$"):
        load_pretrained(saved)


@pytest.mark.parametrize("configuration", [None, 3, "x", []])
def test_a_configuration_is_a_mapping_or_the_file_is_no_state(saved, configuration):
    tensors, about = states.read(saved)
    saved.write_bytes(states.pack(tensors, about | {"configuration": configuration}))
    with pytest.raises(states.DamagedError, match="its configuration is none"):
        states.read(saved)


def test_a_network_that_fills_the_memory_is_not_built():
    with pytest.raises(ValueError, match=r"widths are \(4096, 4096\) and blocks 9, which makes"):
        make_model(widths=(4096, 4096), blocks=9)


def pipe(path):
    os.mkfifo(path)


def many(path):
    path.write_bytes(headed(b'{"a":[' + b"[]," * 2**22 + b"[]]}"))


def giant(path):
    with open(path, "wb") as file:
        file.truncate(2**40)


def swollen(path):
    path.write_bytes(states.pack({"weights/w": np.zeros(3)}, {}))
    os.truncate(path, 2**40)


@pytest.mark.parametrize(
    "make", [pipe, many, giant, swollen, os.mkdir, lambda path: path.symlink_to("/dev/zero")]
)
def test_what_has_no_end_is_not_read(tmp_path, make, most_memory):
    path = tmp_path / "state-000001-000000001.safetensors"
    make(path)

    def read():
        with pytest.raises(states.DamagedError, match="is not a whole saved state"):
            states.read(path)

    assert most_memory(read) < 2**27


def larger(path, tensors, settings):
    """Write a state that says honestly how long it is; what it adds are holes in the file."""
    header = {key: {"dtype": "F32", "shape": shape} for key, shape in tensors.items()}
    end = 0
    for part in header.values():
        part["data_offsets"] = [end, end := end + 4 * math.prod(part["shape"])]
    about = {"sha256": "0" * 64, "format": 2, "settings": settings}
    text = json.dumps({"__metadata__": {"about": json.dumps(about)}, **header}).encode()
    path.write_bytes(headed(text))
    os.truncate(path, 8 + len(text) + end)


@pytest.mark.parametrize(
    ("more", "change"),
    [
        ({"weights/more": (2**31,)}, {}),
        ({f"optimizer/{i}": (2**20,) for i in range(1000)}, {}),
        ({"weights/up_9_1_conv_1/kernel": (3, 3, 2**13, 2**13)}, {}),
        ({"weights/more": (2**31,)}, {"widths": [2**12]}),
        ({"weights/more": (2**31,)}, {"widths": [4, "8"]}),
        ({"weights/more": (2**31,)}, {"blocks": None}),
        (
            {f"weights/middle_{n}_conv_{k}/kernel": (3, 3, 3000, 3000) for n in "12" for k in "12"}
            | {"weights/more": (2**29,)},
            {"widths": [3000]},
        ),
    ],
)
def test_what_does_not_belong_to_the_network_is_not_read(tiny, tmp_path, most_memory, more, change):
    path, network = tmp_path / "state-000001-000000001.safetensors", tiny(widths=(4,))
    tensors = {f"weights/{v.path}": tuple(v.shape) for v in network.weights} | more
    larger(path, tensors, network.settings | change)

    def read():
        with pytest.raises(states.DamagedError, match=r"is not a whole saved state: [^\n]+\.$"):
            states.read(path)

    assert most_memory(read) < 2**27


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": (256,), "residual": False},
        {"image_shape": (4, 4, 4096), "widths": (8, 8)},
        {"widths": (8, 8), "blocks": 9},
        {"widths": (320, 64)},
    ],
)
def test_a_large_state_is_read(tiny, tmp_path, monkeypatch, settings):
    """Whatever its proportions are, a network is no larger than it may be."""
    network = tiny(**settings)
    tensors = {f"weights/{v.path}": np.asarray(v) for v in network.weights}
    monkeypatch.setattr(states, "START", 2**17)
    most = states._most_numbers(network.settings, {k: v.shape for k, v in tensors.items()})
    assert network.count_params() < most < 4 * network.count_params() + 2**18
    path = tmp_path / "large.safetensors"
    path.write_bytes(states.pack(tensors, {"settings": network.settings}))
    assert path.stat().st_size > states.START
    assert states.read(path)[0].keys() == tensors.keys()


@pytest.mark.parametrize(
    "name", ["state-000001-1 (1).safetensors", "best.safetensors", "run/state-1-1.safetensors"]
)
def test_a_folder_with_states_under_other_names_is_not_an_empty_one(tmp_path, name):
    for other in ("epoch-001.safetensors", "damaged-state-1-1.safetensors", "._a.safetensors"):
        (tmp_path / other).touch()
    assert states.find_newest(tmp_path) is None
    write_plain(tmp_path, 1, 1)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "state-000001-000000001.safetensors").rename(tmp_path / name)
    with pytest.raises(ValueError, match=rf"holds {re.escape(name)}, and nothing named state-EPOC"):
        states.find_newest(tmp_path)


def test_a_folder_on_a_drive_that_is_not_mounted_or_below_a_circle_of_links_is_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(states, "DRIVE", tmp_path / "drive" / "MyDrive")
    with pytest.raises(FileNotFoundError, match="is on Google Drive; mount that first"):
        states.check_folder(tmp_path / "drive" / "MyDrive" / "weights")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(NotADirectoryError, match="circle is a link or device that leads nowhere"):
        states.check_folder(tmp_path / "circle" / "run")


def test_a_home_is_written_with_a_tilde_everywhere(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    saved.rename(tmp_path / "runs" / saved.name)
    assert states.find_latest("~/runs") == tmp_path / "runs" / saved.name
    for path in ("~/runs", f"~/runs/{saved.name}"):
        assert load_pretrained(path).settings["widths"] == (4,)
    assert PATH("it", "~/runs") == tmp_path / "runs"


def test_keras_settings_for_channels_first_are_refused_with_what_to_do(saved):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"image_data_format is channels_first.*; try keras"):
            load_pretrained(saved)
    finally:
        keras.config.set_image_data_format("channels_last")


# --- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"widths": (8,)}, r"time_1|halve_image/kernel it holds \(2, 2, 3, 4"),
        ({"widths": (4,), "blocks": 2}, r"middle_3_norm_1/scale it holds nothing"),
        ({"widths": (4,), "residual": False}, r"time_1/kernel it holds \(1, 128\), and"),
    ],
)
def test_weights_of_another_network_name_the_layer_that_differs(tiny, saved, settings, where):
    network = tiny(**settings)
    compile_model(network, 10)
    before = values(network.weights)
    with pytest.raises(ValueError, match=f"is of another network: at weights/(?:{where})"):
        restore(network, saved)
    assert_same(network.weights, before)


def test_weights_of_a_deeper_network_name_the_layer_that_is_too_much(tiny, fresh, tmp_path):
    deeper = tiny(widths=(4,), blocks=2)
    compile_model(deeper, 10)
    with pytest.raises(ValueError, match=r"is of another network: at weights/middle_[34]"):
        restore(fresh, save(deeper, tmp_path))


def test_the_network_of_a_folder_has_the_averages_also_in_keras_own_format(network, saved):
    loaded = load_pretrained(saved.parent)
    assert loaded.settings == network.settings
    assert_same(loaded.weights, network.optimizer.averages)
    loaded.save_weights(saved.parent / "cars.weights.h5")
    again = make_model(**loaded.settings)
    again.load_weights(saved.parent / "cars.weights.h5")
    assert_same(again.weights, loaded.weights)


def test_a_frozen_layer_is_saved_and_loaded(tiny, images, without_xla, tmp_path):
    network = tiny(widths=(4,))
    network.get_layer("halve_image").trainable = False
    train(network, images, epochs=1, batch_size=8, weights_dir=tmp_path)
    assert_same(network.weights, load_pretrained(tmp_path).weights)


def test_an_exported_network_comes_back_in_half_precision(tiny, tmp_path, monkeypatch):
    network = tiny(blocks=2)
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path)
    states.export(network, tmp_path / "mine.safetensors")
    stored = safetensors.numpy.load_file(tmp_path / "mine.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {np.dtype(np.float16)}
    loaded = load_pretrained("mine")
    assert loaded.settings == network.settings
    assert_same(loaded.weights, [w.astype("float16") for w in values(network.weights)])
    network.get_layer("direction").bias.assign([1, 1e5, 1])
    with pytest.raises(ValueError, match=r"direction/bias holds a number that float16 does not"):
        states.export(network, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_the_shipped_networks_are_small_and_know_cars(cars):
    """On real or drawn cars, the guess is nearer to the next picture than no change at all."""
    small = load_pretrained()
    assert small.count_params() <= 2_000_000
    assert (pretrained.PRETRAINED / "small.safetensors").stat().st_size <= 4_000_000
    question, answer = draw_batch(normalize(cars[:32]), linear_schedule(), 0, 0)
    guess = keras.ops.convert_to_numpy(small(question))
    assert np.abs(guess - answer).mean() < 0.6 * np.abs(question[0] - answer).mean()
    earlier = sorted(pretrained.PRETRAINED.glob("small-epoch-*.safetensors"))
    assert len(earlier) >= 3
    assert load_pretrained(earlier[0].stem).settings == small.settings


# --- folders and files --------------------------------------------------------------------------


def test_a_missing_folder_can_be_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_plain(tmp_path / "away", 1, 1)
    assert list(tmp_path.iterdir()) == []
    files.write_atomically(tmp_path / "made" / "file", b"new")
    assert (tmp_path / "made" / "file").read_bytes() == b"new"


def test_a_whole_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path, monkeypatch
):
    path, seen, flush, replace = tmp_path / "file", [], os.fsync, os.replace
    files.write_atomically(path, b"old")

    def look_then_flush(handle):
        seen.append(os.fstat(handle).st_ino)
        flush(handle)

    def look_then_replace(source, target):
        seen.append((Path(source).read_bytes(), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", look_then_flush)
    monkeypatch.setattr(os, "replace", look_then_replace)
    files.write_atomically(path, b"new")
    assert seen == [path.stat().st_ino, (b"new", b"old"), tmp_path.stat().st_ino]
    assert path.read_bytes() == b"new"


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


def test_four_threads_may_write_one_file(tmp_path):
    failed = []

    def write_often():
        for _ in range(25):
            try:
                files.write_atomically(tmp_path / "file", b"whole")
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=write_often) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert failed == []
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


def test_a_link_and_the_mode_of_a_file_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "target", tmp_path / "link"
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        files.write_atomically(link, b"new")
        assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o640)
        target.chmod(0o600)
        files.write_atomically(link, b"newer")
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"newer", 0o600)


def test_a_long_name_is_written_and_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    files.write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="pipe is there and is not a file; give another name"):
        files.write_atomically(tmp_path / "pipe", b"")
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "pipe"])
