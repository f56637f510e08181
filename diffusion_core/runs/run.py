"""One training run in one folder: where it goes on, when it saves, how it ends.

A run that was interrupted anywhere, in the middle of an epoch too, and goes on ends with the same
bits as one that was not: weights, averages, losses. That is promised on a CPU, with the same number
of threads and the same versions, if the first weights were the same (`keras.utils.set_random_seed`
before `make_model`). Only the history's `images_per_second` and `seconds` differ.

SIGINT (Ctrl-C, the stop button of a notebook) and SIGTERM are held back until the step at work is
done; then the state is saved, one sentence says where, and `KeyboardInterrupt` or `SystemExit(143)`
ends the run. A second signal ends it at once, unsaved. Python delivers signals to the main thread
only; in any other thread they are left as they are. Of several processes (see
`examples/several_machines.py`) the first alone writes states, and notices signals.
"""

import hashlib
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from tqdm.auto import tqdm

from diffusion_core.checks import outside
from diffusion_core.runs import states
from diffusion_core.runs.averaging import assign_averages, averaged_weights, steps_done
from diffusion_core.runs.devices import check_same, is_first
from diffusion_core.runs.files import FolderLock, remove_leftovers
from diffusion_core.runs.guards import as_json, tried

COLUMNS = ("epoch", "step", "loss", "learning_rate", "images_per_second", "seconds")
# A state goes on only under the rule that it began with: change this with `draw_batch`.
DRAW_RULE = "the middle steps more often"


class Run:
    """Hold a folder and the signals for the length of a `with` block, and save what happens in it.

    The training loop waits only while the numbers are copied; a thread writes the copy. While it
    writes, no second copy is made: the next state is saved as soon as the thread is free again. A
    save that fails costs a warning, and the run goes on. However the block ends, the model then
    holds its averaged weights.

    Attributes:
        history: a dict of lists, one entry an epoch; `COLUMNS` names them.
        losses: those of the unfinished epoch.
    """

    def __init__(self, model: keras.Model, folder, minutes: float, configuration: dict):
        """Describe a run; nothing is touched before the `with` block.

        Args:
            model: a network of `make_model`.
            folder: where states are written; None writes nothing.
            minutes: a state is wanted so many minutes after the last one, and after every epoch.
            configuration: what a state must have been written with, for the run to go on from it;
                under "images" the pictures themselves.
        """
        self.model, self.folder, self._seconds = model, folder, 60 * minutes
        self.history, self.losses = {column: [] for column in COLUMNS}, []
        self._configuration, self._batch_size = configuration, configuration["batch_size"]
        self._epoch_seconds = 0.0
        self._writes = folder is not None and is_first()
        self._lock, self._found, self._bar = None, None, None
        self._pool, self._writing, self._saved, self._path = ThreadPoolExecutor(1), None, None, None
        self._last, self._wanted = time.monotonic(), False  # a wall clock may jump
        self._signal, self._previous = None, {}

    def __enter__(self):
        """Take the folder, hold back signals, and look for a state of this same run.

        Raises:
            OSError: the folder cannot be made or written, or another process trains into it.
            ValueError: its newest state is of another run, or all its states are damaged.
        """
        try:
            if self._writes:
                states.check_folder(self.folder).mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self.folder)
                remove_leftovers(self.folder)
                self._hold_signals_back()
            if self.folder is not None:
                self._describe()
                self._found = states.find_newest(self.folder)
                check_same(self._found[0].name if self._found else "none")
                if self._found:
                    path, _, about = self._found
                    states.check_configuration(path, about, self._configuration)
        except BaseException:
            self._let_go()
            raise
        return self

    def resume(self, epochs: int, steps: int):
        """Put the newest state into the compiled model, and yield the epochs that are left.

        Args:
            epochs: how many the whole run has.
            steps: in an epoch.

        Raises:
            ValueError: the state is of another network, or more epochs are begun than `epochs`.
        """
        if self._found:
            path, tensors, about = self._found
            begun = len(about["history"]["epoch"]) + bool(about["losses"])
            if begun > epochs:
                raise ValueError(
                    f"epochs is {epochs}, and {path} is of epoch {begun}; give at least {begun}, "
                    "or another weights_dir."
                )
            if about.get("epochs", epochs) != epochs:
                warnings.warn(
                    f"the run was planned for {about['epochs']} epochs and has now {epochs}: the "
                    "learning rate jumps to where it would be in a run of that length.",
                    stacklevel=5,
                )
            states.restore(self.model, tensors, path)
            if self._writes:
                states.set_aside(path)
            self.history, self.losses = about["history"], about["losses"]
            self._epoch_seconds, self._found = about["seconds"], None
        self._epochs, self._steps, done = epochs, steps, len(self.history["epoch"])
        self._fresh = done < epochs
        self._bar = tqdm(total=epochs * steps, initial=done * steps + len(self.losses), unit="step")
        for epoch in range(done + 1, epochs + 1):
            self._bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
            yield epoch
            # After the callback: if that is killed, it is called again.
            self._offer(now=True)

    def places(self):
        """Yield the places of the batches that are left of this epoch, and save in between."""
        start = time.perf_counter() - self._epoch_seconds
        for place in range(len(self.losses), self._steps):
            self._offer()
            yield place
            self._epoch_seconds = time.perf_counter() - start
            speed = len(self.losses) * self._batch_size / self._epoch_seconds
            self._bar.set_postfix_str(
                f"loss {self.losses[-1]:.4f}, {speed:.0f} images/s", refresh=False
            )
            self._bar.update()

    def end_epoch(self) -> None:
        """Add a row to the history."""
        row = (
            len(self.history["epoch"]) + 1,
            steps_done(self.model),
            float(np.mean(self.losses)),
            float(self.model.optimizer.learning_rate),
            self._steps * self._batch_size / self._epoch_seconds,
            self._epoch_seconds,
        )
        for column, value in zip(COLUMNS, row, strict=True):
            self.history[column].append(value)
        self.losses.clear()
        self._epoch_seconds = 0.0

    def show(self, callback) -> None:
        """Call `callback(epoch, model, history)` with the averaged weights in the model.

        If the process is killed meanwhile, it is called again for the same epoch; if it raises an
        error, the epoch counts as done, and it is not.
        """
        copied = {column: list(values) for column, values in self.history.items()}
        try:
            with averaged_weights(self.model), outside():
                callback(copied["epoch"][-1], self.model, copied)
        except BaseException:
            self._stop()
            raise

    def __exit__(self, kind, error, traceback):
        """Save the last state, put in the averages, and let signals and folder go."""
        try:
            if self._writes and kind is None and self._fresh:
                self._save()
        finally:
            self._let_go()
            if self._bar is not None:
                self._bar.close()
                if steps_done(self.model):
                    assign_averages(self.model)
        if kind is None and self._signal:
            self._raise_signal()

    def _describe(self):
        settings, images = self._configuration, self._configuration["images"]
        self._configuration = {
            **self.model.settings,
            "precision": self.model.dtype_policy.name,
            **{name: as_json(value) for name, value in settings.items() if name != "images"},
            **tried(settings["loss"], settings["learning_rate"], images),
            "images": len(images),
            "images_sha256": hashlib.sha256(np.ascontiguousarray(images)).hexdigest(),
            "draw_rule": DRAW_RULE,
        }

    # --- saving -------------------------------------------------------------------------------

    def _place(self):
        """Return what tells two states apart: a step that mixed_float16 skips does not count."""
        return len(self.history["epoch"]), len(self.losses), steps_done(self.model)

    def _offer(self, now=False):
        """Save the state between two steps, if `now` or the clock wants it and nothing is writing.

        After a signal, save it in any case and end the run.
        """
        if not self._writes:
            return
        if self._signal:
            self._stop()
            self._raise_signal()
        self._collect(wait=False)
        self._wanted |= now or time.monotonic() - self._last >= self._seconds
        if self._wanted and not self._writing:
            self._start()

    def _start(self):
        progress = {"history": self.history, "losses": self.losses, "seconds": self._epoch_seconds}
        progress |= {"configuration": self._configuration, "epochs": self._epochs}
        copied = states.snapshot(self.model, progress)
        self._last, self._wanted = time.monotonic(), False

        def write():
            # The folder may have gone away and come back, and then the lock is another file.
            self._lock.take()
            return states.write(self.folder, *copied)

        self._writing = self._pool.submit(write), self._place()

    def _collect(self, wait):
        if self._writing and (wait or self._writing[0].done()):
            (writing, place), self._writing = self._writing, None
            try:
                self._path, self._saved = writing.result(), place
            except OSError as error:
                warnings.warn(
                    f"The state of step {place[-1]} could not be saved: {error}; training goes "
                    "on, and the next state is saved if that is possible then.",
                    stacklevel=4,
                )

    def _save(self):
        """Save the state now, unless it is saved already, and wait until it is."""
        self._collect(wait=True)
        if self._saved != self._place():
            self._start()
            (writing, place), self._writing = self._writing, None
            try:
                self._path, self._saved = writing.result(), place
            except OSError as error:
                raise OSError(
                    f"the last state, of step {place[-1]}, could not be saved: {error}; the newest "
                    f"that this session saved: {self._path or 'none'}."
                ) from error

    def _stop(self):
        if self._writes:
            self._save()
            tqdm.write(
                f"Stopped at step {steps_done(self.model)}; saved as {self._path}, from where the "
                "same call goes on."
            )

    def _let_go(self):
        try:
            self._collect(wait=True)
        finally:
            self._let_signals_pass()
            self._pool.shutdown()
            if self._lock:
                self._lock.release()

    # --- signals ------------------------------------------------------------------------------

    def _hold_signals_back(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                # What the surroundings ignore (nohup, `&` in a script) stays ignored.
                if previous not in (None, signal.SIG_IGN):
                    self._previous[number] = previous
                    signal.signal(number, self._note)

    def _note(self, number, frame):
        self._signal = number
        self._let_signals_pass()

    def _let_signals_pass(self):
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _raise_signal(self):
        raise KeyboardInterrupt if self._signal == signal.SIGINT else SystemExit(128 + self._signal)
