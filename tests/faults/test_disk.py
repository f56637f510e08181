"""Disks that fill up, refuse, or go away in the middle of a run of the terminal's `train`."""

import os
import re
import signal
import subprocess
import warnings
from contextlib import suppress

import numpy as np
import pytest

from diffusion_core import data, model, sampling, training
from diffusion_core.__main__ import main
from diffusion_core.runs import states

STEPS = 4


def mounted(*command):
    """Mount or unmount if this process may, and say whether it could."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)):
        pytest.skip("this process may not mount; the injected error stands for a full disk")
    yield folder
    mounted("umount", "--lazy", str(folder))


@pytest.fixture
def train(monkeypatch, one_layer, patient):
    """Run the terminal: 3 epochs of 4 counted steps; let `at[step]` happen in a step."""
    cars = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(data, "load_cars", lambda: cars)
    monkeypatch.setattr(model, "make_model", one_layer)
    monkeypatch.setattr(
        sampling, "predict", lambda network, n: np.zeros((n, 32, 32, 3), np.float32)
    )

    def run(folder, at=None):
        pending = dict(at or {})

        def step(network, *args):
            number = int(network.optimizer.iterations) + 1
            if number in pending:
                pending.pop(number)()
            network.optimizer.iterations.assign(number)
            return number / 7

        monkeypatch.setattr(training, "train_one", step)
        line = "train --epochs 3 --batch-size 2 --images 8 --weights-dir"
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            code = main([*line.split(), str(folder)])
        return code, [str(warning.message) for warning in warned]

    return run


class Full:
    """A disk with no room left, really."""

    reason = "No space left on device"

    def __init__(self, folder, monkeypatch):
        self.filler = folder.parent / "filler"

    def begin(self):
        with open(self.filler, "wb", 0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def end(self):
        self.filler.unlink()


class Injected:
    """A disk that says so when it is asked to flush a file."""

    reason = "No space left on device"

    def __init__(self, folder, monkeypatch):
        self.patch, self.flush = monkeypatch, os.fsync

    def begin(self):
        def fail(handle):
            raise OSError(28, "No space left on device")

        self.patch.setattr(os, "fsync", fail)

    def end(self):
        self.patch.setattr(os, "fsync", self.flush)


class Vanished:
    """A folder that is not there, as when Google Drive was unmounted."""

    reason = "No such file or directory"

    def __init__(self, folder, monkeypatch):
        self.folder, self.away = folder, folder.with_name("away")

    def begin(self):
        self.folder.rename(self.away)

    def end(self):
        # A new folder would be on a disk that goes away with the machine.
        assert not self.folder.exists()
        self.away.rename(self.folder)


class Replaced(Vanished):
    """A file in the place of the folder: nobody can write there, root neither."""

    reason = "Not a directory"

    def begin(self):
        super().begin()
        self.folder.write_text("")

    def end(self):
        self.folder.unlink()
        super().end()


@pytest.fixture(params=[Full, Injected, Vanished, Replaced])
def fault(request, tmp_path, monkeypatch):
    """A fault and the folder that it will hit."""
    disk = request.getfixturevalue("small_disk") if request.param is Full else tmp_path
    folder = disk / "run"
    return request.param(folder, monkeypatch), folder


def steps_saved(folder):
    found = [re.search(r"-(\d+)\.", path.name) for path in folder.glob("state-*")]
    return sorted(int(match.group(1)) for match in found)


def history(folder):
    known = states.read_about(states.find_latest(folder))["history"]
    return {column: known[column] for column in ("epoch", "step", "loss", "learning_rate")}


def test_training_goes_on_through_a_fault_and_saves_when_it_can_again(train, fault, tmp_path):
    fault, folder = fault
    code, warned = train(folder, {6: fault.begin, 10: fault.end})
    assert code == 0
    about_states = [text for text in warned if text.startswith("The state of step")]
    assert len(about_states) == 1
    assert "The state of step 8 could not be saved: " in about_states[0]
    assert fault.reason in about_states[0]
    assert steps_saved(folder) == [4, 12]
    assert train(tmp_path / "undisturbed")[0] == 0
    assert history(folder) == history(tmp_path / "undisturbed")


def test_a_fault_that_stays_ends_with_an_error_code_and_the_next_start_goes_on(
    train, fault, tmp_path, capsys
):
    fault, folder = fault
    code, warned = train(folder, {6: fault.begin})
    assert code == 1
    error = capsys.readouterr().err
    assert "diffusion_core train: the last state, of step 12, could not be saved: " in error
    assert fault.reason in error
    assert "the newest that this session saved: " in error
    assert "state-000001-000000004.safetensors" in error
    assert len([text for text in warned if "could not be saved" in text]) == 2
    fault.end()
    assert steps_saved(folder) == [4]
    assert train(folder)[0] == 0
    assert history(folder)["step"] == [4, 8, 12]


def test_a_disk_that_was_unmounted_and_mounted_again(train, tmp_path):
    """The folder is in another file system, as on Drive; the lock is taken anew."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()

    def mount():
        return mounted("mount", "--bind", str(source), str(target))

    if not mount():
        pytest.skip("this process may not mount")
    try:
        code, warned = train(
            target / "run",
            {6: lambda: mounted("umount", "--lazy", str(target)), 10: lambda: mount() or 1 / 0},
        )
    finally:
        mounted("umount", "--lazy", str(target))
    assert code == 0
    assert [text for text in warned if text.startswith("The state of step 8 could not be saved")]
    assert list(target.iterdir()) == []
    assert steps_saved(source / "run") == [4, 12]


def test_a_folder_that_cannot_be_written_is_refused_at_once(train, tmp_path, capsys):
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)):
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere, and may not mount here")
        folder.chmod(0o555)
    try:
        code, _ = train(folder, {1: lambda: 1 / 0})
    finally:
        mounted("umount", "--lazy", str(folder))
    assert code == 1
    assert re.search("train: .*(Read-only|denied).*disk/.training-lock", capsys.readouterr().err)


def test_an_error_of_a_save_does_not_hide_a_stop(train, fault, capsys):
    """Ctrl-C while nothing can be saved: the error code says so."""
    fault, folder = fault
    code, _ = train(folder, {6: fault.begin, 7: lambda: signal.raise_signal(signal.SIGINT)})
    assert code == 1
    assert "the last state, of step 7, could not be saved" in capsys.readouterr().err
    fault.end()
    assert steps_saved(folder) == [4]
