"""A run in its folder: when it saves, how it stops, how it goes on, and who holds the folder."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import assert_same, precision, values

from diffusion_core import linear_schedule, load_pretrained, train, training
from diffusion_core.runs import files, states
from diffusion_core.runs.files import FolderLock

EPOCHS, STEPS = 3, 4
IMAGES = np.zeros((2 * STEPS, 8, 8, 3), np.float32)
IMAGES[:, 0, 0, 0] = np.linspace(-1, 1, 2 * STEPS)


@pytest.fixture
def steps(monkeypatch):
    """Replace the training step by one that counts, and lets `at[step]` happen in a step."""
    taken = SimpleNamespace(seen=[], at={})

    def step(model, images, schedule, seed, shares, teacher):
        number = int(model.optimizer.iterations) + 1
        taken.seen.append((number, images[:, 0, 0, 0].tolist()))
        taken.at.pop(number, int)()
        model.optimizer.iterations.assign(number)
        return number / 7

    monkeypatch.setattr(training, "train_one", step)
    return taken


@pytest.fixture
def run(one_layer, steps, folder):
    """Run or go on: 3 epochs of 4 pretended steps."""

    def go_on(network=None, **options):
        options = {"epochs": EPOCHS, "batch_size": 2, "weights_dir": folder, **options}
        return train(network or one_layer((8, 8, 3)), IMAGES, **options)

    return go_on


@pytest.fixture
def go(tiny, images, without_xla, folder):
    """Really train a tiny network, two steps an epoch; return it and its history."""

    def go_on(epochs, network=None, pictures=images, **options):
        network = network or tiny(seed=9, widths=(4,))
        options = {"batch_size": 8, "weights_dir": folder, "callback_every": 1, **options}
        return network, train(network, pictures, epochs=epochs, **options)

    return go_on


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def names(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def newest(folder):
    return folder / names(folder)[-1]


def rewrite(folder, change):
    """Change what the newest state says of itself."""
    tensors, about = states.read(newest(folder))
    change(about)
    newest(folder).write_bytes(states.pack(tensors, about))


class LostError(Exception):
    """Stands for a lost connection in the middle of a step."""


def lose(*_):
    raise LostError


def stop(*_):
    signal.raise_signal(signal.SIGINT)


# --- when a state is saved ----------------------------------------------------------------------


def test_a_state_is_saved_after_every_epoch_and_after_its_callback(run, steps, patient, folder):
    """A callback that is killed is called again, since no state says that it has been called."""
    seen = []
    run(callback=lambda *_: seen.append(names(folder)), callback_every=1)
    expected = [f"state-00000{epoch}-{4 * epoch:09d}.safetensors" for epoch in (1, 2, 3)]
    assert [*seen, names(folder)] == [[], expected[:1], expected[:2], expected]


def test_a_state_is_saved_when_minutes_have_passed(run, steps, patient, folder, monkeypatch):
    """By a clock that cannot jump."""
    seconds, jumps = [1000.0], iter([4e9, 0.0, -1e6, 1e12] * 1000)
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))

    def wait(by):
        seconds[0] += by

    steps.at |= {1: lambda: wait(119), 2: lambda: wait(1), 3: lambda: wait(119), 4: lose}
    with pytest.raises(LostError):
        run(save_minutes=2)
    assert names(folder) == ["state-000000-000000002.safetensors"]


def test_training_goes_on_while_a_state_is_written(run, steps, monkeypatch):
    write, may_go_on, written = states.write, threading.Event(), []

    def slowly(folder, tensors, about):
        assert may_go_on.wait(60)
        written.append(about["step"])
        return write(folder, tensors, about)

    monkeypatch.setattr(states, "write", slowly)
    # Eight steps are taken before the first state is on the disk; no other waits behind it.
    steps.at[8] = may_go_on.set
    run(save_minutes=0)
    assert (written[0], written[-1]) == (0, EPOCHS * STEPS)
    assert not set(range(1, 8)) & set(written)


def test_a_finished_run_is_read_once_and_neither_trained_nor_saved_again(
    run, steps, folder, monkeypatch
):
    history = run()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("state-*")}
    seen, read = [], states.read_file
    monkeypatch.setattr(
        states, "read_file", lambda path, *n: (seen.append(path), read(path, *n))[1]
    )
    assert run() == history
    assert len(steps.seen) == EPOCHS * STEPS
    assert seen == [newest(folder)]
    assert {path: path.stat().st_mtime_ns for path in folder.glob("state-*")} == before


def test_without_a_folder_nothing_is_written_and_signals_are_left_alone(
    run, steps, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before, handlers = signal.getsignal(signal.SIGINT), []
    steps.at[2] = lambda: handlers.append(signal.getsignal(signal.SIGINT))
    run(weights_dir=None)
    assert handlers == [before]
    assert list(tmp_path.iterdir()) == []


def test_a_last_epoch_of_skipped_steps_is_saved(go, folder, monkeypatch):
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.7), flush(handle)))
    with precision("mixed_float16"):
        go(2, batch_size=16, callback=lambda e, m, h: m.optimizer.dynamic_scale.assign(1e38))
    about = states.read_about(newest(folder))
    assert (about["history"]["epoch"], about["step"]) == ([1, 2], 1)


def test_weights_that_are_no_numbers_end_the_run_and_leave_the_saved_states(
    one_layer, run, steps, patient, folder
):
    network = one_layer((8, 8, 3))
    steps.at[6] = lambda: network.weights[0].assign(np.nan * np.asarray(network.weights[0]))
    with pytest.raises(ValueError, match="after step 8 some weights are NaN or infinite; the sav"):
        run(network)
    assert names(folder) == ["state-000001-000000004.safetensors"]


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost_at", [2, 4, 5, 12])
def test_a_run_that_is_lost_in_an_epoch_goes_on_in_its_middle(run, steps, patient, lost_at):
    whole = run(weights_dir=None)
    expected = steps.seen.copy()
    steps.seen.clear()
    steps.at[lost_at] = lose
    with pytest.raises(LostError):
        run(save_minutes=0)
    history = run(save_minutes=0)
    # The lost step is taken again, on the same images; nothing else is, and nothing is left out.
    assert steps.seen == expected[:lost_at] + expected[lost_at - 1 :]
    for column in ("epoch", "step", "loss", "learning_rate"):
        assert history[column] == whole[column]


def test_an_interrupted_run_ends_with_the_same_weights_from_any_first_ones(tiny, go, tmp_path):
    whole, expected = go(3, tiny(widths=(4,)), seed=5, weights_dir=tmp_path / "whole")
    with pytest.raises(LostError):
        go(3, tiny(widths=(4,)), seed=5, callback=lambda epoch, *_: epoch == 2 and lose())
    network, history = go(3, tiny(seed=99, widths=(4,)), seed=5)
    assert history["step"] == [2, 4, 6]
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    assert_same(network.weights, whole.weights, tolerance=1e-5)
    # A finished run gives its history and average at once.
    network, history = go(3, seed=5, weights_dir=tmp_path / "whole")
    assert history == expected
    assert_same(network.weights, whole.weights)


def test_seconds_before_an_interruption_count(run, steps, patient, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: seconds[0])

    def wait():
        seconds[0] += 10

    steps.at |= {1: wait, 2: wait, 3: lose}
    with pytest.raises(LostError):
        run(save_minutes=0, epochs=2)
    steps.at |= dict.fromkeys(range(3, 9), wait)
    history = run(epochs=2)
    assert history["seconds"] == [40, 40]
    assert history["images_per_second"] == [8 / 40] * 2


def test_a_damaged_state_is_set_aside_and_the_run_goes_on_from_the_one_before(
    run, steps, patient, folder
):
    history = run()
    last = newest(folder)
    last.write_bytes(last.read_bytes()[:-1])
    steps.seen.clear()
    with pytest.warns(UserWarning, match=f"{last.name} is not a whole saved state"):
        again = run()
    assert [number for number, _ in steps.seen] == list(range(9, 13))
    assert again["loss"] == history["loss"]
    assert (folder / f"damaged-{last.name}").is_file()
    assert states.find_latest(folder) == last


def test_more_epochs_than_planned_are_possible_and_are_said(run, steps):
    run(epochs=2)
    with pytest.warns(UserWarning, match=r"planned for 2 epochs and has now 4: the learning rate"):
        assert run(epochs=4)["step"] == [4, 8, 12, 16]
    assert len(steps.seen) == 16


@pytest.mark.parametrize("lost", [False, True])
def test_fewer_epochs_than_begun_are_refused_and_the_network_unchanged(
    one_layer, run, folder, lost
):
    run(epochs=2)
    begun = 2 + lost
    if lost:  # in the third epoch
        rewrite(folder, lambda about: about.update(losses=[0.5]))
    network = one_layer((8, 8, 3))
    with pytest.raises(ValueError, match=rf"epochs is {begun - 1}, .*of epoch {begun}; give at le"):
        run(network, epochs=begun - 1)
    assert not hasattr(network, "optimizer")


def test_a_callback_cannot_change_the_history(run):
    for _ in range(2):
        history = run(callback=lambda e, m, history: history["loss"].clear(), callback_every=1)
        assert len(history["loss"]) == EPOCHS


def test_what_killed_processes_left_is_removed_and_nothing_else(run, folder):
    mine = [".cars.png.7.tmp", "state-1.7.tmp", "damaged-state-1-1.safetensors"]
    folder.mkdir()
    for name in [".preview-epoch-001.png.7.tmp", *mine]:
        (folder / name).write_text("")
    if not (child := os.fork()):
        os.replace = lambda *_: os._exit(0)
        files.write_atomically(folder / "state-000001-000000002.safetensors", b"")
    os.waitpid(child, 0)
    assert len(list(folder.iterdir())) == 5
    run()
    assert {path.name for path in folder.iterdir() if not path.stat().st_size} == set(mine)


# --- only the same run goes on ------------------------------------------------------------------

RULE = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.5)


@pytest.fixture(scope="module")
def trained(tiny, images, no_xla, tmp_path_factory):
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    with no_xla():
        network = tiny(widths=(4,))
        train(network, images, epochs=1, batch_size=8, seed=5, weights_dir=folder)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, r"seed is 6 and was 5\. Give what it was to go on, or another weights_dir"),
        ({"batch_size": 4, "seed": 0}, r"batch_size is 4 and was 8; seed is 0 and was 5\."),
        ({"learning_rate": 2e-3}, "learning_rate is 0.002 and was 0.004"),
        ({"learning_rate": RULE}, r"learning_rate is \{'ExponentialDecay': .*… and was 0"),
        ({"loss": "mean_squared_error"}, "loss is 'mean_squared_error' and was 'mean_absolute_err"),
        ({"schedule": linear_schedule(8)}, r"noise_levels is \[1.0, 0.875, .* and was \[1.0, 0.9"),
        ({"pictures": slice(None, None, -1)}, r"images_sha256 is '\w+\.{3}\w+' and was '\w+\.{3}"),
        ({"pictures": slice(1, None)}, "images is 15 and was 16; images_sha256"),
        ({"widths": (4, 8)}, r"widths is \[4, 8\] and was \[4\]"),
    ],
)
def test_another_configuration_is_refused_and_the_network_unchanged(
    tiny, images, go, trained, change, message
):
    change = {"seed": 5, "weights_dir": trained, "pictures": slice(None), **change}
    network = tiny(seed=99, widths=change.pop("widths", (4,)))
    pictures = images[change.pop("pictures")]
    before, weights = names(trained), values(network.weights)
    with pytest.raises(ValueError, match=f"belongs to another run: {message}"):
        go(9, network, pictures, **change)
    assert not hasattr(network, "optimizer")
    assert_same(network.weights, weights)
    assert names(trained) == before


def make_loss(power):
    def mine(answer, guess):
        return keras.ops.mean(keras.ops.abs(answer - guess) ** power)

    return mine


def make_rate(factor):
    class Mine(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return factor * 1e-3

        def get_config(self):
            return {}

    return Mine()


@pytest.mark.parametrize(("name", "make"), [("loss", make_loss), ("learning_rate", make_rate)])
def test_two_rules_of_one_name_are_told_apart(run, name, make):
    history = run(**{name: make(1)})
    assert run(**{name: make(1)}) == history
    with pytest.raises(ValueError, match=f"another run: {name}"):
        run(**{name: make(2)})


def test_the_way_of_drawing_belongs_to_the_run(run, folder):
    history = run()
    rewrite(folder, lambda about: about["configuration"].update(draw_rule="another"))
    with pytest.raises(ValueError, match=r"another run: draw_rule is .* and was 'another'"):
        run()
    # States of before this entry go on; a loss may be spelled in any way.
    rewrite(folder, lambda about: about["configuration"].pop("draw_rule"))
    assert run(loss="mae") == history
    rewrite(folder, lambda about: about["configuration"].update({"\033" + "x" * 10**6: 1}))
    with pytest.raises(ValueError, match=r"another run: \?x{299}… is None and was 1"):
        run()
    rewrite(folder, lambda about: about.pop("configuration"))
    with pytest.raises(ValueError, match="does not say of which run it is"):
        run()


def test_other_versions_give_a_warning_and_a_quiet_run_none(run, steps, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        steps.at[6] = lose
        with pytest.raises(LostError):
            run()
        run()
    monkeypatch.setattr(keras, "__version__", "3.99")
    with pytest.warns(UserWarning, match=r"now keras 3.99 \(was 3\.\d+.*\). Training goes on, but"):
        run()


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [6, 8, 12])
@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGINT, KeyboardInterrupt, ()), (signal.SIGTERM, SystemExit, (143,))],
)
def test_a_signal_saves_the_state_says_where_and_ends_the_run(
    run, steps, folder, capsys, number, error, code, step
):
    before = signal.getsignal(number)
    steps.at[step] = lambda: signal.raise_signal(number)
    with pytest.raises(error) as ended:
        run()
    assert ended.value.args == code
    assert newest(folder).name == f"state-00000{step // STEPS}-{step:09d}.safetensors"
    said = f"Stopped at step {step}; saved as {newest(folder)}, from where the same call goes on.\n"
    assert capsys.readouterr().out == f"Training starts anew in {folder}.\n{said}"
    assert states.read_about(newest(folder))["losses"] == ([5 / 7, 6 / 7] if step == 6 else [])
    begin = f"goes on from {newest(folder).name}, epoch {step // STEPS}"
    assert run()["step"] == [4, 8, 12]
    assert capsys.readouterr().out == f"Training {begin} in {folder}.\n"
    assert len(steps.seen) == 12
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("seconds", "last"), [(1.1, 4), (0.9, 6)])
def test_a_second_signal_ends_the_run_at_once_unless_it_is_the_first_again(
    run, steps, patient, folder, monkeypatch, seconds, last
):
    """A terminal and a wrapper around the process may both pass the same Ctrl-C on."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def twice():
        stop()
        clock[0] += seconds
        stop()

    steps.at[6] = twice
    with pytest.raises(KeyboardInterrupt):
        run()
    assert newest(folder).name == f"state-000001-{last:09d}.safetensors"


def test_an_ignored_signal_stays_ignored(run, steps):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        steps.at[6] = stop
        assert run()["step"] == [4, 8, 12]
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_works_in_another_thread(run):
    histories = []
    thread = threading.Thread(target=lambda: histories.append(run()))
    thread.start()
    thread.join(60)
    assert histories[0]["step"] == [4, 8, 12]


@pytest.mark.parametrize(("end", "error"), [(stop, KeyboardInterrupt), (lose, LostError)])
def test_a_callback_may_end_the_run(tiny, go, folder, capsys, end, error):
    """The state is saved, the network holds the average, and the callback is not called again."""
    network = tiny(widths=(4,))
    with pytest.raises(error):
        go(3, network, callback=lambda epoch, *_: epoch == 2 and end())
    assert newest(folder).name == "state-000002-000000004.safetensors"
    assert "Stopped at step 4; saved as " in capsys.readouterr().out
    assert_same(network.weights, load_pretrained(folder).weights)
    tensors, _ = states.read(newest(folder))
    plain = [tensors[f"weights/{variable.path}"] for variable in network.weights]
    assert not all(map(np.array_equal, values(network.weights), plain))
    called = []
    go(3, callback=lambda epoch, *_: called.append(epoch))
    assert called == [3]


def test_an_exit_before_the_first_step_leaves_the_network_alone(tiny, go, monkeypatch):
    network = tiny(widths=(4,))
    before = values(network.weights)
    monkeypatch.setattr(network, "train_on_batch", lose)
    with pytest.raises(LostError):
        go(1, network)
    assert_same(network.weights, before)


# --- one process for one folder -----------------------------------------------------------------

HOLDER = """
import sys, time
from diffusion_core.runs.files import FolderLock
lock = FolderLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_gets_a_clear_error_and_a_dead_one_does_not_block(run, steps, folder):
    steps.at[6] = lose
    with pytest.raises(LostError) as lost:  # which keeps the first run alive, but not its lock
        run()
    steps.seen.clear()
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            message = rf"run is in use by process {holder.pid} on .*, started at 20.*; wait until"
            with pytest.raises(BlockingIOError, match=message):
                run()
            assert steps.seen == []
        finally:
            holder.kill()
    assert run()["step"] == [4, 8, 12]
    assert lost.tb
    held = FolderLock(folder)  # it is free after a run
    with pytest.raises(BlockingIOError, match=f"is in use by process {os.getpid()} on "):
        run()
    held.release()


def test_a_folder_that_was_replaced_meanwhile_is_locked_again(run, steps, patient, folder):
    def replace():
        folder.rename(folder.with_name("away"))
        folder.mkdir()

    def look():
        with pytest.raises(BlockingIOError):
            FolderLock(folder)

    # Between them the second epoch ends, and its state is saved.
    steps.at |= {6: replace, 10: look}
    run()
    assert len(names(folder)) == 2


def test_a_disk_without_locks_gives_a_warning(run, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="cannot be locked .*not supported.*make sure that no oth"):
        assert run()["step"] == [4, 8, 12]


# --- what is shown, and what fails beside training ----------------------------------------------


class Full(io.StringIO):
    """A log on a disk that is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("make", [Full, lambda: None])
def test_a_display_that_fails_ends_no_run(run, steps, monkeypatch, folder, make):
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", make())
    assert run()["step"] == [4, 8, 12]
    steps.at[14] = stop
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="was planned for"):
        run(epochs=4)
    assert newest(folder).name == "state-000003-000000014.safetensors"


@pytest.mark.parametrize("name", ["pack", "snapshot"])
def test_any_error_of_a_save_costs_one_warning(run, patient, folder, monkeypatch, name):
    work, failures = getattr(states, name), iter([MemoryError()])

    def fail_once(*arguments):
        for error in failures:
            raise error
        return work(*arguments)

    monkeypatch.setattr(states, name, fail_once)
    with pytest.warns(UserWarning, match=r"step 4 could not be saved: MemoryError\(\); tra"):
        assert run()["step"] == [4, 8, 12]
    assert len(names(folder)) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("history"),
        lambda about: about["history"].pop("loss"),
        lambda about: about["history"].update(loss=["a"] * EPOCHS),
        lambda about: about["history"].update(loss=[0.5]),
        lambda about: about.update(losses=None),
        lambda about: about.update(losses={}),
        lambda about: about.update(losses=[[1]], seconds=[1]),
        lambda about: about.update(seconds="long"),
        lambda about: about.pop("versions"),
        lambda about: about.pop("step"),
    ],
)
def test_a_state_without_what_a_run_goes_on_with_is_refused(run, folder, change):
    run()
    rewrite(folder, change)
    with pytest.raises(ValueError, match=r"lacks what a run goes on with \(.*; give another weig"):
        run()


def test_a_state_under_the_name_of_another_is_refused_with_its_own_name(run, folder):
    run()
    name = newest(folder).name
    newest(folder).rename(folder / "state-000009-000000036.safetensors")
    with pytest.raises(ValueError, match=f"state of another name; rename it to {name} to go on"):
        run()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_not_written_through(run, folder, tmp_path, link):
    folder.mkdir()
    (tmp_path / "victim").write_text("precious")
    link(tmp_path / "victim", folder / ".training-lock")
    with pytest.raises(FileExistsError, match=r"training-lock is not a file of `train`; remove it"):
        run()
    assert (tmp_path / "victim").read_text() == "precious"
