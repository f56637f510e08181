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


def mounted(*command):
    """Mount or unmount if this process may, and say whether it could."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


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
            pending.pop(number, int)()
            network.optimizer.iterations.assign(number)
            return number / 7

        monkeypatch.setattr(training, "train_one", step)
        line = "train --epochs 3 --batch-size 2 --images 8 --weights-dir"
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            code = main([*line.split(), str(folder)])
        told = [str(warning.message) for warning in warned]
        return code, [text for text in told if text.startswith("The state of step")]

    return run


def full(folder, monkeypatch):
    """A file system of four megabytes with no room left, really."""
    folder.parent.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder.parent)):
        pytest.skip("this process may not mount; the injected error stands for a full disk")
    filler = folder.with_name("filler")

    def begin():
        with open(filler, "wb", 0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    yield "No space left on device", begin, filler.unlink
    mounted("umount", "--lazy", str(folder.parent))


def injected(folder, monkeypatch):
    """A disk that says so when it is asked to flush a file."""
    flush = os.fsync

    def fail(handle):
        raise OSError(28, "No space left on device")

    yield (
        "No space left on device",
        lambda: monkeypatch.setattr(os, "fsync", fail),
        lambda: monkeypatch.setattr(os, "fsync", flush),
    )


def vanished(folder, monkeypatch):
    """A folder that is not there, as when Google Drive was unmounted."""
    away = folder.with_name("away")

    def end():
        # A new folder would be on a disk that goes away with the machine.
        assert not folder.exists()
        away.rename(folder)

    yield "No such file or directory", lambda: folder.rename(away), end


def replaced(folder, monkeypatch):
    """A file in the place of the folder: nobody can write there, root neither."""
    away = folder.with_name("away")
    yield (
        "Not a directory",
        lambda: (folder.rename(away), folder.write_text("")),
        lambda: (folder.unlink(), away.rename(folder)),
    )


@pytest.fixture(params=[full, injected, vanished, replaced])
def fault(request, tmp_path, monkeypatch):
    """A folder, what the system says of the fault that hits it, how it begins, how it ends."""
    folder = tmp_path / "disk" / "run"
    for fault in request.param(folder, monkeypatch):
        yield folder, *fault


def steps_saved(folder):
    found = [re.search(r"-(\d+)\.", path.name) for path in folder.glob("state-*")]
    return sorted(int(match.group(1)) for match in found)


def test_training_goes_on_through_a_fault_and_saves_when_it_can_again(train, fault, tmp_path):
    folder, reason, begin, end = fault
    code, warned = train(folder, {6: begin, 10: end})
    assert code == 0
    assert len(warned) == 1
    assert "The state of step 8 could not be saved: " in warned[0]
    assert reason in warned[0]
    assert steps_saved(folder) == [4, 12]
    assert train(tmp_path / "undisturbed")[0] == 0
    ours, theirs = (
        states.read_about(states.find_latest(one))["history"]
        for one in (folder, tmp_path / "undisturbed")
    )
    for column in ("epoch", "step", "loss", "learning_rate"):
        assert ours[column] == theirs[column]


# After a signal in step 7 nothing can be saved either, and the error code says so.
@pytest.mark.parametrize(("last", "stop"), [(12, {}), (7, {7: signal.SIGINT})])
def test_a_fault_that_stays_ends_with_an_error_code_and_the_next_start_goes_on(
    train, fault, capsys, last, stop
):
    folder, reason, begin, end = fault
    at = {step: lambda number=number: signal.raise_signal(number) for step, number in stop.items()}
    code, _ = train(folder, {6: begin, **at})
    assert code == 1
    error = capsys.readouterr().err
    assert f"diffusion_core train: the last state, of step {last}, could not be saved: " in error
    assert reason in error
    assert f"the newest that is saved: {folder}/state-000001-000000004.safetensors" in error
    end()
    assert steps_saved(folder) == [4]
    assert train(folder)[0] == 0
    assert steps_saved(folder) == [4, 8, 12]


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
    assert "The state of step 8 could not be saved" in warned[0]
    assert list(target.iterdir()) == []
    assert steps_saved(source / "run") == [4, 12]


def test_a_folder_that_cannot_be_written_is_refused_at_once(train, tmp_path, capsys):
    if os.geteuid() == 0 and not mounted("mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)):
        pytest.skip("root may write everywhere, and may not mount here")
    tmp_path.chmod(0o555) if os.geteuid() else None
    try:
        code, _ = train(tmp_path, {1: lambda: 1 / 0})
    finally:
        mounted("umount", "--lazy", str(tmp_path))
    assert code == 1
    assert re.search("train: .*(Read-only|denied).*/.training-lock", capsys.readouterr().err)
