"""Measure what saving costs the network of the book, beside one epoch of 5,000 images.

    python bench/saving.py

Writes results/saving.json. A state is saved after every epoch and every ten minutes. Training
waits for the copy; the writing is done by another thread, whose processor time is lost only where
training needs every core. Times are processor times, so that other work on the machine does not
count; the wall-clock time of a write, with its flush to the disk, is given beside them.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from recording import write_results

from diffusion_core import checkpoints, compile_model, make_model, train_one

BATCH_SIZE, IMAGES, REPEATS = 64, 5000, 7
INTERVAL_SECONDS = 600


def median_time(clock, function) -> float:
    times = []
    for _ in range(REPEATS):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    model = make_model()
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH_SIZE, 32, 32, 3)).astype(np.float32)
    compile_model(model, 10_000)
    train_one(model, images)
    step = median_time(time.process_time, lambda: train_one(model, images))
    # As long as the history of a long run.
    columns = {name: [0.123456789] * 220 for name in ("epoch", "step", "loss", "seconds")}
    progress = {"history": columns, "losses": [0.123456789] * 78}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        tensors, about = checkpoints.snapshot(model, progress)
        copy = median_time(time.process_time, lambda: checkpoints.snapshot(model, progress))

        def write():
            checkpoints.write(Path(folder), tensors, about)

        processor, wall = (median_time(clock, write) for clock in (time.process_time, time.time))
        size = checkpoints.find_latest(folder).stat().st_size
    epoch = IMAGES // BATCH_SIZE * step

    def percent(part, whole):
        return f"{100 * part / whole:.3f} %"

    row = {
        "state": f"{size / 1e6:.1f} MB",
        "copy, s": round(copy, 4),
        "write, processor s": round(processor, 3),
        "write, clock s": round(wall, 3),
        "epoch, processor s": round(epoch, 1),
        "copy of an epoch": percent(copy, epoch),
        "copy and write of an epoch": percent(copy + processor, epoch),
        "copy and write of ten minutes": percent(copy + processor, INTERVAL_SECONDS),
    }
    write_results("saving", [row])


if __name__ == "__main__":
    main()
