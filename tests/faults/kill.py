"""Kill real training processes, again and again, and see that nothing is lost.

    python tests/faults/kill.py --kills 100

A child runs the terminal's `train` (one convolution, 320 stand-in cars, one thread), saves after
every step that finds the writer free, and takes a little longer than it has to for every flush to
the disk, so that many kills come in the middle of a save. It is ended at a random moment by
SIGKILL, or by SIGTERM or SIGINT, which must save first. The next has to go on from a whole state,
and not before the last one that was reported as saved. The end, with every weight, average, loss
and picture, has to be bit for bit that of a run that was left alone.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CIFAR10_DIR": "stand-in",
    "TQDM_DISABLE": "1",
}
EPOCHS, BATCH_SIZE, IMAGES = 2, 2, 320
STEPS = EPOCHS * IMAGES // BATCH_SIZE
PATIENCE_SECONDS = 600


def one_convolution(**_):
    """Return the smallest network that `train` takes, which starts in a second."""
    from keras import Input, Model, layers

    from diffusion_core.model import take_step

    question = [Input((32, 32, 3)), Input((1,)), Input((1,))]
    direction = layers.Conv2D(3, 3, padding="same", name="direction")(question[0])
    network = Model(question, take_step(*question, direction))
    network.settings = {"classes": 0}
    return network


def train(folder, log, slow_disk):
    """Be the child: the terminal with the smallest network, noting what it does in a file."""
    from diffusion_core import __main__ as terminal
    from diffusion_core import model, training
    from diffusion_core.runs import states

    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    notes = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    train_one, write, flush = training.train_one, states.write, os.fsync

    def noted_step(network, *args):
        os.write(notes, f"at {int(network.optimizer.iterations)}\n".encode())
        return train_one(network, *args)

    def noted_write(folder, tensors, about):
        path = write(folder, tensors, about)
        os.write(notes, f"saved {about['step']}\n".encode())
        return path

    def slow_flush(handle):
        flush(handle)
        time.sleep(random.uniform(0, slow_disk))

    training.train_one, states.write, os.fsync = noted_step, noted_write, slow_flush
    model.make_model = one_convolution
    compile_as_asked = training.keras.Model.compile
    # Compiling with XLA would be most of the work.
    training.keras.Model.compile = lambda self, *args, **options: compile_as_asked(
        self, *args, **{**options, "jit_compile": False}
    )
    line = f"train --epochs {EPOCHS} --batch-size {BATCH_SIZE} --images {IMAGES} --save-minutes 0"
    sys.exit(terminal.main([*line.split(), "--weights-dir", str(folder)]))


def start(folder, log, slow_disk=0.0):
    """Start a child in a fork of a server that has the libraries in memory, to save their time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffusion_core.__main__"])
    child = context.Process(target=train, args=(folder, log, slow_disk))
    child.start()
    return child


def noted(log, word):
    """Return the numbers that children noted behind a word, the last line only if it is whole."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


def interrupt(child, log, number, steps, moment):
    """Send a signal `moment` seconds after the child has begun so many steps; False: it ended."""
    begun, end = len(noted(log, "at")), time.monotonic() + PATIENCE_SECONDS
    while child.is_alive() and time.monotonic() < end and len(noted(log, "at")) - begun < steps:
        time.sleep(0.002)
    time.sleep(moment)
    alive = child.is_alive()
    if alive:
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            alive = False
    child.join(PATIENCE_SECONDS)
    return alive


def differences(folder, other):
    """Return what differs between two finished runs: states and pictures, but not wall clocks."""
    from diffusion_core.runs import states

    (ours, known), (theirs, other_known) = (
        states.read(states.find_latest(one)) for one in (folder, other)
    )
    found = [key for key in ours.keys() | theirs.keys() if key not in ours or key not in theirs]
    found += [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()]
    for column in ("epoch", "step", "loss", "learning_rate"):
        if known["history"][column] != other_known["history"][column]:
            found.append(column)
    for pattern, count in (("*.png", EPOCHS), ("epoch-*.safetensors", EPOCHS)):
        files, others = (
            {f.name: f.read_bytes() for f in one.glob(pattern)} for one in (folder, other)
        )
        if files != others or len(files) != count:
            found.append(pattern)
    return found


def torture(work, log, kills, chance):
    """Interrupt a run until it was killed so often or came to its end; return what was seen."""
    killed, in_a_save, signals, faults = 0, 0, 0, []
    for number in range(1, 2 * kills + 1):
        kind = {2: signal.SIGTERM, 4: signal.SIGINT}.get(number % 11, signal.SIGKILL)
        saved, steps = noted(log, "saved"), noted(log, "at")
        child = start(work, log, slow_disk=0.03)
        # Moments are spread over what is left of the run: before its first step, in the middle of
        # a step, and in the middle of a save.
        most = 2 * max(0, STEPS - (saved or [0])[-1]) // (kills - killed + 1)
        went_on = interrupt(child, log, kind, chance.randint(0, most), chance.uniform(0, 0.05))
        begun = noted(log, "at")[len(steps) :]
        if steps and begun and not (saved or [0])[-1] <= begun[0] <= steps[-1] + 1:
            faults.append(f"step {begun[0]} after {steps[-1]}, saved {saved[-1:]}")
        if not went_on:
            break
        if kind == signal.SIGKILL:
            killed += 1
            in_a_save += any(work.glob(".*.tmp"))
            if killed == kills:
                child = start(work, log)
                child.join(PATIENCE_SECONDS)
                break
        else:
            signals += 1
            # Before training has begun, a signal does what it always does.
            expected = {signal.SIGTERM: (143, -15), signal.SIGINT: (130, 1)}[kind]
            if child.exitcode not in expected[: 1 if begun else 2]:
                faults.append(f"the exit code after {kind.name} is {child.exitcode}")
    if child.exitcode != 0:
        faults.append(f"the last child ended with {child.exitcode}")
    return killed, in_a_save, signals, faults


def main(kills: int, kills_a_run: int) -> int:
    """Print a line for each run, and return the exit code: 1 if anything was not as it should."""
    # A shell that starts this in the background lets it ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done, run, faults = 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start(folder / "whole", folder / "log-whole").join(PATIENCE_SECONDS)
        while done < kills and run < kills and not faults:
            work, wanted = folder / f"run-{run}", min(kills_a_run, kills - done)
            found = torture(work, folder / f"log-{run}", wanted, random.Random(run))
            killed, in_a_save, signals, faults = found
            faults = faults or differences(work, folder / "whole")
            done, run = done + killed, run + 1
            print(f"run {run}: {killed} SIGKILLs, {in_a_save} of them in a save, {signals} other")
    print(f"{done} of {kills} kills; faults: {'; '.join(faults) or 'none'}")
    return 1 if faults or done < kills else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how many SIGKILLs (100)")
    parser.add_argument("--kills-a-run", type=int, default=25, help="in one run (25)")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    sys.exit(main(options.kills, options.kills_a_run))
