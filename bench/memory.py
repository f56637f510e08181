"""Measure the most memory that training and drawing hold, for several batch sizes.

    python bench/memory.py

Writes results/memory.json. Every row is a fresh process on the CPU with the network of the book;
the first row is what TensorFlow and the package hold before anything is computed.
"""

import subprocess
import sys

import numpy as np
from process import peak_megabytes
from recording import write_results

RUNS = [("nothing yet", 0)]
RUNS += [("training", batch) for batch in (16, 64, 128)]
RUNS += [("drawing", pictures) for pictures in (25, 100, 400)]
STEPS = 2


def main() -> None:
    rows = []
    for what, size in RUNS:
        command = [sys.executable, __file__, what, str(size)]
        child = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
        peak = float(child.stdout.split()[-1])
        rows.append({"what": what, "images at once": size, "peak, MB": round(peak)})
    write_results("memory", rows, backend="tensorflow", precision="float32", steps=STEPS)


def hold(what: str, size: int) -> None:
    """Do one thing and print the most memory that this process ever held."""
    from diffusion_core import compile_model, make_model, predict, sampling, train_one

    network = make_model()
    if what == "training":
        compile_model(network, STEPS)
        images = np.zeros((size, 32, 32, 3), np.float32)
        for _ in range(STEPS):
            train_one(network, images)
    elif what == "drawing":
        sampling.BATCH_SIZE = size
        predict(network, size)
    print(peak_megabytes())


if __name__ == "__main__":
    hold(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 1 else main()
