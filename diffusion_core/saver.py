"""What runs beside the training loop: saving in the background, and stopping without a loss."""

import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
from tqdm.auto import tqdm

from diffusion_core import checkpoints
from diffusion_core.files import remove_leftovers
from diffusion_core.lock import FolderLock


class Saver:
    """Save the states of one run into one folder, which it holds for the length of a `with` block.

    The training loop waits only while the numbers are copied; a thread writes the copy. While it
    writes, no second copy is made: the next state is saved as soon as the thread is free again.

    SIGINT (Ctrl-C, the stop button of a notebook) and SIGTERM are held back until the step at work
    is done; then the state is saved, one sentence says where, and `KeyboardInterrupt` or
    `SystemExit(143)` ends the run. A second signal ends it at once, unsaved. Python delivers
    signals to the main thread only; in any other thread they are left as they are.
    """

    def __init__(self, weights_dir: str | Path, minutes: float):
        """Make the folder where it is missing, lock it, and clean up after killed processes.

        Args:
            weights_dir: the folder.
            minutes: a state is wanted so many minutes after the last one, and at `offer(now=True)`.

        Raises:
            OSError: the folder cannot be made or written, or another process trains into it.
        """
        self.folder = checkpoints.check_folder(weights_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.folder)
        remove_leftovers(self.folder)
        self._seconds = 60 * minutes
        # A wall clock may jump; this one only counts.
        self._last = time.monotonic()
        self._wanted = False
        self._pool = ThreadPoolExecutor(1)
        self._writing, self._step, self._path = None, None, None
        self._signal, self._previous = None, {}

    def __enter__(self):
        """Hold back the signals that stop a run."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.getsignal(number)
                # What the surroundings ignore (nohup, `&` in a script) stays ignored.
                if previous not in (None, signal.SIG_IGN):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind, error, traceback):
        """Wait for what is being written, then let signals and folder go."""
        try:
            self._collect(wait=True)
        finally:
            self._let_signals_pass()
            self._pool.shutdown()
            self._lock.release()
        if kind is None and self._signal:
            self._raise_signal()

    def offer(self, model: keras.Model, progress: dict, now: bool = False) -> None:
        """Save the state between two steps, if `now` or the clock wants it and nothing is writing.

        A save that fails costs one warning, and the run goes on; the next `offer` tries again
        when the clock wants a state.

        Args:
            model: as `checkpoints.snapshot` takes it.
            progress: likewise.
            now: want a state, whatever the clock says.

        Raises:
            KeyboardInterrupt, SystemExit: a signal came; the state is saved.
            OSError: a signal came, and the state could not be saved.
            ValueError: a state held NaN or infinite weights; it was not written.
        """
        if self._signal:
            self.stop(model, progress)
            self._raise_signal()
        self._collect(wait=False)
        self._wanted |= now or time.monotonic() - self._last >= self._seconds
        if self._wanted and not self._writing:
            self._start(model, progress)

    def save(self, model: keras.Model, progress: dict) -> Path:
        """Save the state now, unless it is saved already, wait until it is, and return its path.

        Raises:
            OSError: it could not be saved; the text says why and which state is the newest.
            ValueError: as in `offer`.
        """
        self._collect(wait=True)
        step = checkpoints.steps_done(model)
        if self._step != step:
            self._start(model, progress)
            writing, self._writing = self._writing, None
            try:
                self._path, self._step = writing.result(), step
            except OSError as error:
                raise OSError(
                    f"the last state, of step {step}, could not be saved: {error}; the newest that "
                    f"this session saved: {self._path or 'none'}."
                ) from error
        return self._path

    def stop(self, model: keras.Model, progress: dict) -> None:
        """Save the state as `save` does, and say in one sentence where it is."""
        path = self.save(model, progress)
        tqdm.write(
            f"Stopped at step {checkpoints.steps_done(model)}; saved as {path}, from where the "
            "same call goes on."
        )

    def _start(self, model, progress):
        step = checkpoints.steps_done(model)
        copied = checkpoints.snapshot(model, progress)
        self._last, self._wanted = time.monotonic(), False

        def write():
            # The folder may have gone away and come back, and then the lock is another file.
            self._lock.take()
            return checkpoints.write(self.folder, *copied)

        self._writing, self._writing_step = self._pool.submit(write), step

    def _collect(self, wait):
        if self._writing and (wait or self._writing.done()):
            writing, self._writing = self._writing, None
            try:
                self._path, self._step = writing.result(), self._writing_step
            except OSError as error:
                warnings.warn(
                    f"The state of step {self._writing_step} could not be saved: {error}; training "
                    "goes on, and the next state is saved if that is possible then.",
                    stacklevel=3,
                )

    def _note(self, number, frame):
        self._signal = number
        self._let_signals_pass()

    def _let_signals_pass(self):
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _raise_signal(self):
        raise KeyboardInterrupt if self._signal == signal.SIGINT else SystemExit(128 + self._signal)
