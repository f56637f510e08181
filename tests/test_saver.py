"""Saving beside the training loop: when, how often, by which signals, and who holds the folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_core import checkpoints, lock, saver, train, training

EPOCHS, STEPS = 3, 4
IMAGES = np.linspace(-1, 1, 2 * STEPS, dtype=np.float32)[:, None, None, None] * np.ones(
    (1, 8, 8, 3), np.float32
)


@pytest.fixture
def steps(monkeypatch):
    """Replace the training step by one that counts, and lets `at[step]` happen in a step."""

    taken = SimpleNamespace(seen=[], at={})

    def step(model, images, schedule=None, seed=0):
        number = int(model.optimizer.iterations) + 1
        taken.seen.append((number, images[:, 0, 0, 0].tolist()))
        if number in taken.at:
            taken.at.pop(number)()
        model.optimizer.iterations.assign(number)
        return number / 7

    monkeypatch.setattr(training, "train_one", step)
    return taken


@pytest.fixture
def run(one_layer, steps, tmp_path):
    """Run or go on: 3 epochs of 4 steps into one folder."""

    def go_on(folder=tmp_path / "run", **options):
        options = {"epochs": EPOCHS, "batch_size": 2, "weights_dir": folder, **options}
        return train(one_layer((8, 8, 3)), IMAGES, **options)

    return go_on


def names(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def about(folder):
    return checkpoints.read_about(checkpoints.find_latest(folder))


class LostError(Exception):
    """Stands for a lost connection in the middle of a step."""


def lose():
    raise LostError


# --- when a state is saved ----------------------------------------------------------------------


def test_a_state_is_saved_after_every_epoch(run, steps, patient, tmp_path):
    found = []
    for epoch in range(1, EPOCHS):
        steps.at[epoch * STEPS + 1] = lambda: found.append(names(tmp_path / "run"))
    run()
    assert found == [
        ["state-000001-000000004.safetensors"],
        ["state-000001-000000004.safetensors", "state-000002-000000008.safetensors"],
    ]
    assert names(tmp_path / "run")[-1] == "state-000003-000000012.safetensors"


def test_a_state_is_saved_when_minutes_have_passed(run, steps, patient, tmp_path, monkeypatch):
    seconds = [1000.0]
    monkeypatch.setattr(saver.time, "monotonic", lambda: seconds[0])

    def wait(by):
        seconds[0] += by

    steps.at |= {1: lambda: wait(119), 2: lambda: wait(1), 3: lambda: wait(119), 4: lose}
    with pytest.raises(LostError):
        run(save_minutes=2)
    assert names(tmp_path / "run") == ["state-000000-000000002.safetensors"]


def test_a_wall_clock_that_jumps_changes_nothing(run, steps, patient, tmp_path, monkeypatch):
    jumps = iter([4e9, 0.0, -1e6, 1e12] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    steps.at[3] = lose
    with pytest.raises(LostError):
        run(save_minutes=1)
    assert names(tmp_path / "run") == []
    history = run(save_minutes=0)
    assert history["epoch"] == [1, 2, 3]
    assert min(history["seconds"]) >= 0
    assert names(tmp_path / "run")[-1] == "state-000003-000000012.safetensors"


def test_training_goes_on_while_a_state_is_written(run, steps, tmp_path, monkeypatch):
    write, may_go_on, written = checkpoints.write, threading.Event(), []

    def slowly(folder, tensors, about):
        assert may_go_on.wait(60)
        written.append(about["step"])
        return write(folder, tensors, about)

    monkeypatch.setattr(checkpoints, "write", slowly)
    # Eight steps are taken before the first state is on the disk; no other waits behind it.
    steps.at[8] = may_go_on.set
    run(save_minutes=0)
    assert written[0] == 0
    assert not set(range(1, 8)) & set(written)
    assert written[-1] == EPOCHS * STEPS


def test_a_finished_run_is_not_saved_again(run, tmp_path):
    history = run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("state-*")}
    assert run() == history
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("state-*")} == before


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost_at", [2, 4, 5, 7, 12])
def test_a_run_that_is_lost_in_an_epoch_goes_on_in_its_middle(run, steps, patient, lost_at):
    whole = run(weights_dir=None)
    expected = steps.seen.copy()
    steps.seen.clear()
    steps.at[lost_at] = lose
    with pytest.raises(LostError):
        run(save_minutes=0)
    assert steps.seen == expected[:lost_at]
    history = run(save_minutes=0)
    # The lost step is taken again, on the same images; nothing else is, and nothing is left out.
    assert steps.seen == expected[:lost_at] + expected[lost_at - 1 :]
    for column in ("epoch", "step", "loss", "learning_rate"):
        assert history[column] == whole[column]


def test_seconds_before_an_interruption_count(run, steps, patient, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: seconds[0])

    def wait():
        seconds[0] += 10

    steps.at |= {1: wait, 2: wait, 3: lose}
    with pytest.raises(LostError):
        run(save_minutes=0)
    steps.at |= {3: wait, 4: wait, 5: wait, 6: wait, 7: wait, 8: wait}
    assert run(epochs=2)["seconds"] == [40, 40]


def test_a_damaged_state_is_set_aside_and_the_run_goes_on_from_the_one_before(
    run, steps, patient, tmp_path
):
    history = run()
    newest = tmp_path / "run" / "state-000003-000000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    steps.seen.clear()
    with pytest.warns(UserWarning, match=f"{newest.name} is not a whole saved state"):
        again = run()
    assert [number for number, _ in steps.seen] == list(range(9, 13))
    assert again["loss"] == history["loss"]
    assert (tmp_path / "run" / f"damaged-{newest.name}").is_file()
    assert checkpoints.find_latest(tmp_path / "run") == newest


def test_the_number_of_epochs_may_be_raised(run, steps):
    run(epochs=2)
    assert run(epochs=4)["step"] == [4, 8, 12, 16]
    assert len(steps.seen) == 16


def test_a_killed_callback_is_called_again(run, patient, tmp_path):
    """So it comes before the state of its epoch, which would say that it has been called."""
    seen = []

    def callback(epoch, model, history):
        seen.append((epoch, names(tmp_path / "run")))

    run(callback=callback, callback_every=1, epochs=2)
    assert seen == [(1, []), (2, ["state-000001-000000004.safetensors"])]


def test_what_killed_processes_left_is_removed_at_the_start(run, tmp_path):
    rest = tmp_path / "run" / ".state-000001-000000001.safetensors.1.tmp"
    rest.parent.mkdir()
    rest.write_bytes(b"half")
    run()
    assert not rest.exists()


def test_states_of_an_earlier_run_are_not_mixed_with_new_ones(run, tmp_path):
    run(seed=1)
    before = names(tmp_path / "run")
    with pytest.raises(ValueError, match="belongs to another run: seed is 2 and was 1"):
        run(seed=2)
    assert names(tmp_path / "run") == before


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGINT, KeyboardInterrupt, ()), (signal.SIGTERM, SystemExit, (143,))],
)
def test_a_signal_saves_the_state_says_where_and_ends_the_run(
    run, steps, tmp_path, capsys, number, error, code
):
    before = signal.getsignal(number)
    steps.at[6] = lambda: signal.raise_signal(number)
    with pytest.raises(error) as ended:
        run()
    assert ended.value.args == code
    saved = tmp_path / "run" / "state-000001-000000006.safetensors"
    assert checkpoints.find_latest(tmp_path / "run") == saved
    assert capsys.readouterr().out == (
        f"Stopped at step 6; saved as {saved}, from where the same call goes on.\n"
    )
    assert about(tmp_path / "run")["losses"] == [5 / 7, 6 / 7]
    assert signal.getsignal(number) is before
    steps.seen.clear()
    assert run()["step"] == [4, 8, 12]
    assert steps.seen[0][0] == 7


def test_a_signal_in_the_last_step_of_an_epoch_leaves_the_epoch_whole(run, steps, tmp_path):
    steps.at[4] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert about(tmp_path / "run")["history"]["epoch"] == [1]
    assert about(tmp_path / "run")["losses"] == []


def test_a_second_signal_ends_the_run_at_once(run, steps, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was held back too")

    steps.at[6] = twice
    with pytest.raises(KeyboardInterrupt):
        run()
    assert names(tmp_path / "run") == ["state-000001-000000004.safetensors"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, LostError])
def test_the_state_is_saved_when_a_callback_ends_the_run(run, steps, tmp_path, capsys, error):
    def callback(epoch, model, history):
        raise error

    with pytest.raises(error):
        run(callback=callback, callback_every=2)
    assert names(tmp_path / "run")[-1] == "state-000002-000000008.safetensors"
    assert "Stopped at step 8; saved as " in capsys.readouterr().out
    run(callback=callback, callback_every=10**6, epochs=2)


def test_an_ignored_signal_stays_ignored(run, steps):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        steps.at[6] = lambda: signal.raise_signal(signal.SIGINT)
        assert run()["step"] == [4, 8, 12]
    finally:
        signal.signal(signal.SIGINT, before)


def test_signals_pass_again_and_the_folder_is_free_after_the_block(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with saver.Saver(tmp_path, 10) as held:
        assert signal.getsignal(signal.SIGINT) == held._note
    assert signal.getsignal(signal.SIGINT) is before
    lock.FolderLock(tmp_path).release()


def test_signals_are_left_alone_where_nothing_can_be_saved(run, steps):
    before = signal.getsignal(signal.SIGINT)
    steps.at[2] = lambda: handlers.append(signal.getsignal(signal.SIGINT))
    handlers = []
    run(weights_dir=None)
    assert handlers == [before]


def test_training_works_in_another_thread(run):
    histories = []
    thread = threading.Thread(target=lambda: histories.append(run()))
    thread.start()
    thread.join(60)
    assert histories[0]["step"] == [4, 8, 12]


# --- one process for one folder -----------------------------------------------------------------

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
file.write("process 4711 on a-laptop, started at 2026-01-01 00:00:00")
file.flush()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder `run`."""
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run" / lock.NAME)], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_gets_a_clear_error(run, steps, holder, tmp_path):
    with pytest.raises(
        BlockingIOError, match=r"run is in use by process 4711 on a-laptop, started"
    ):
        run()
    assert steps.seen == []
    assert names(tmp_path / "run") == []


def test_a_dead_process_does_not_block(run, holder):
    holder.kill()
    holder.wait()
    assert run()["step"] == [4, 8, 12]


def test_the_folder_is_free_after_a_run_and_after_a_lost_one(run, steps, tmp_path):
    steps.at[6] = lose
    with pytest.raises(LostError):
        run()
    run()
    lock.FolderLock(tmp_path / "run").release()


def test_the_lock_says_who_holds_it(tmp_path):
    held = lock.FolderLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"is in use by process {os.getpid()} on .*, started"):
        lock.FolderLock(tmp_path)
    held.take()
    held.release()
    lock.FolderLock(tmp_path).release()


def test_a_folder_that_was_replaced_meanwhile_is_locked_again(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    held = lock.FolderLock(folder)
    folder.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        held.take()
    folder.mkdir()
    other = lock.FolderLock(folder)
    with pytest.raises(BlockingIOError):
        held.take()
    other.release()
    held.take()
    with pytest.raises(BlockingIOError):
        lock.FolderLock(folder)
    held.release()


def test_a_disk_without_locks_gives_a_warning(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="cannot be locked .*not supported.*make sure that no oth"):
        lock.FolderLock(tmp_path).release()


# --- a loss that is no number -------------------------------------------------------------------


def test_weights_that_are_no_numbers_end_the_run_and_leave_the_saved_states(
    one_layer, steps, patient, tmp_path
):
    network = one_layer((8, 8, 3))

    def spoil():
        network.weights[0].assign(np.nan * np.asarray(network.weights[0]))

    steps.at[6] = spoil
    with pytest.raises(
        ValueError, match="after step 8 some weights are NaN or infinite; the saved"
    ):
        train(network, IMAGES, epochs=3, batch_size=2, weights_dir=tmp_path)
    assert names(tmp_path) == ["state-000001-000000004.safetensors"]


def test_states_are_plain_json_beside_numbers(run, tmp_path):
    run()
    known = about(tmp_path / "run")
    assert json.loads(json.dumps(known, allow_nan=False)) == known
    assert known["configuration"]["noise_levels"][0] == 1


def test_a_quiet_run_warns_of_nothing(run, steps):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        steps.at[6] = lose
        with pytest.raises(LostError):
            run()
        run()
