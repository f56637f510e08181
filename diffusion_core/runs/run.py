"""One training run in one folder: where it goes on, when it saves, how it ends.

A run that was interrupted anywhere and goes on ends with the same weights, averages and losses as
one that was not, to the last bit: on a CPU, with the same number of threads, the same versions and
the same first weights (`keras.utils.set_random_seed` before `make_model`).

SIGINT (Ctrl-C, the stop button of a notebook) and SIGTERM are held back until the step at work is
done; then the state is saved, one sentence says where, and `KeyboardInterrupt` or `SystemExit(143)`
ends the run. A second signal, a second later or more, ends it at once, unsaved. Python tells the
main thread alone of signals. Of several processes the first alone writes states, and notices
signals.
"""

import signal
import sys
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
from tqdm.auto import tqdm

from diffusion_core.checks import outside
from diffusion_core.runs import guards, states
from diffusion_core.runs.devices import check_same, is_first
from diffusion_core.runs.files import Display, FolderLock, remove_leftovers
from diffusion_core.runs.guards import COLUMNS
from diffusion_core.runs.optimizer import assign_averages, averaged_weights, steps_done


class Run:
    """Hold a folder and the signals for the length of a `with` block, and save what happens in it.

    A thread writes states, and training waits only while their numbers are copied. A save that
    fails costs a warning. However the block ends, the model then holds its averaged weights.

    Attributes:
        history: a dict of lists, one entry an epoch; `COLUMNS` names them.
        losses: those of the unfinished epoch.
    """

    def __init__(self, model, folder, minutes, epochs, plan, callback=None, callback_every=1):
        """Describe a run; nothing is touched before the `with` block.

        A state is wanted so many minutes after the last one, and after every epoch. To go on from,
        it must be of the same `plan`, as `guards.describe` takes it. No folder: nothing is written.
        The callback, of `train`, is shown every so many epochs and the last.
        """
        self._callback, self._callback_every = callback, callback_every
        self.model, self.folder, self._seconds = model, folder, 60 * minutes
        self.history, self.losses = {column: [] for column in COLUMNS}, []
        self._epochs, self._plan, self._batch_size = epochs, plan, plan["batch_size"]
        self._epoch_seconds, self._configuration = 0.0, None
        self._writes = folder is not None and is_first()
        self._found = self._bar = self._writing = self._saved = self._path = self._signal = None
        self._last, self._wanted = time.monotonic(), False  # a wall clock may jump
        self._previous = {}

    def __enter__(self):
        """Take the folder, hold back signals, and look for a state of this same run."""
        with ExitStack() as held:
            if self._writes:
                states.check_folder(self.folder).mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self.folder)
                held.callback(self._lock.release)
                remove_leftovers(self.folder)
                self._writer = held.enter_context(ThreadPoolExecutor(1))
                held.callback(self._let_signals_pass)
                self._hold_signals_back()
            if self.folder is not None:
                self._configuration = guards.describe(self.model, **self._plan)
                self._found = states.find_newest(self.folder)
                check_same(self._found[0].name if self._found else "none")
                if self._found:
                    path, _, about = self._found
                    guards.check_state(path, about, self._configuration, self._epochs)
            self._held = held.pop_all()
        return self

    def epochs(self, steps: int):
        """Put the state into the compiled model; yield each epoch left, and the places left in it.

        An epoch has so many steps, and a place is the number of a batch in it.
        """
        self._steps = steps
        for epoch in range(self._resume() + 1, self._epochs + 1):
            self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
            yield epoch, self._places()
            self._end_epoch()
            if self._callback and (epoch % self._callback_every == 0 or epoch == self._epochs):
                self._show()
            # After the callback: if that is killed, it is called again.
            self._save_if_due(now=True)

    def _resume(self):
        """Restore what was found, say where the run begins, and return how many epochs are done."""
        if self._found:
            path, tensors, about = self._found
            states.restore(states.variables(self.model), tensors, path)
            if self._writes:
                states.set_aside(path)
            self.history, self.losses = about["history"], about["losses"]
            self._epoch_seconds, self._found = about["seconds"], None
            self._path, self._saved = path, self._place()
        done, steps = len(self.history["epoch"]), self._steps
        if self.folder is not None:
            begin = f"goes on from {self._path.name}, epoch {done}" if self._path else "starts anew"
            print(f"Training {begin} in {self.folder}.", file=Display(sys.stdout))
        self.model.configuration = self._configuration or guards.trained_on(**self._plan)
        size = {"total": self._epochs * steps, "initial": done * steps + len(self.losses)}
        self._bar = tqdm(unit="step", file=Display(sys.stderr), **size)
        return done

    def _places(self):
        """Yield the places that are left of this epoch, and save in between."""
        start = time.perf_counter() - self._epoch_seconds
        for place in range(len(self.losses), self._steps):
            self._save_if_due()
            yield place
            self._epoch_seconds = time.perf_counter() - start
            speed = len(self.losses) * self._batch_size / self._epoch_seconds
            shown = f"loss {self.losses[-1]:.4f}, {speed:.0f} images/s"
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update()

    def _end_epoch(self):
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

    def _show(self):
        """Call the callback with averaged weights; again after a kill, but not after an error."""
        copied = {column: list(values) for column, values in self.history.items()}
        try:
            with averaged_weights(self.model), outside():
                self._callback(copied["epoch"][-1], self.model, copied)
        except BaseException:
            self._stop()
            raise

    def __exit__(self, kind, error, traceback):
        """Save the last state, put in the averages, and let signals and folder go."""
        with self._held:
            try:
                if self._writes and kind is None:
                    self._save()
                self._collect(wait=True)
            finally:
                if self._bar is not None:
                    self._bar.close()
                    if steps_done(self.model):
                        assign_averages(self.model)
        if kind is None and self._signal:
            self._raise_signal()

    def _save_if_due(self, now=False):
        """Save the state if `now` or the clock wants it and nothing is writing; end on a signal."""
        if not self._writes:
            return
        if self._signal:
            self._stop()
            self._raise_signal()
        self._collect(wait=False)
        self._wanted |= now or time.monotonic() - self._last >= self._seconds
        if self._wanted and not self._writing:
            self._start()

    def _place(self):
        """Return what tells two states apart: a step that mixed_float16 skips does not count."""
        return len(self.history["epoch"]), len(self.losses), steps_done(self.model)

    def _start(self):
        progress = {"history": self.history, "losses": self.losses, "seconds": self._epoch_seconds}
        progress |= {"configuration": self._configuration, "epochs": self._epochs}
        self._last, self._wanted = time.monotonic(), False
        try:
            copied = states.snapshot(self.model, progress | {"versions": guards.versions()})
            writing = self._writer.submit(self._write, *copied)
        except (MemoryError, RuntimeError) as error:  # no room for a copy, or for a thread
            writing = Future()
            writing.set_exception(error)
        self._writing = writing, self._place()

    def _write(self, tensors, about):
        self._lock.take()  # the folder may have gone away and come back: then it is another file
        return states.write(self.folder, tensors, about)

    def _collect(self, wait, last=False):
        """Take note of a state that was written; what failed is an error if it was the last."""
        if not self._writing or not (wait or self._writing[0].done()):
            return
        (writing, place), self._writing = self._writing, None
        try:
            self._path, self._saved = writing.result(), place
        except Exception as error:  # whatever it is, the next save may succeed
            reason = error if str(error) else repr(error)
            if last:
                raise OSError(
                    f"the last state, of step {place[-1]}, could not be saved: {reason}; the "
                    f"newest that is saved: {self._path or 'none'}."
                ) from error
            warnings.warn(
                f"The state of step {place[-1]} could not be saved: {reason}; training goes on, "
                "and the next state is saved if that is possible then.",
                stacklevel=4,
            )

    def _save(self):
        """Save the state now, unless it is saved already, and wait until it is."""
        self._collect(wait=True)
        if self._saved != self._place():
            self._start()
            self._collect(wait=True, last=True)

    def _stop(self):
        if self._writes:
            self._save()
            self._bar.clear()
            print(
                f"Stopped at step {steps_done(self.model)}; saved as {self._path}, from where the "
                "same call goes on.",
                file=Display(sys.stdout),
            )

    def _hold_signals_back(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # What the surroundings ignore (nohup, `&` in a script) stays ignored.
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self._previous[number] = signal.signal(number, self._note)

    def _note(self, number, frame):
        if self._signal is None:
            self._signal, self._noted = number, time.monotonic()
        elif time.monotonic() - self._noted > 1:  # a wrapper may pass on what its child got too
            self._let_signals_pass()
            signal.raise_signal(number)

    def _let_signals_pass(self):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _raise_signal(self):
        raise KeyboardInterrupt if self._signal == signal.SIGINT else SystemExit(128 + self._signal)
