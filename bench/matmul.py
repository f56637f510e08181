"""Measure the machine's matrix product, 2048×2048 float32: `python bench/matmul.py rate numpy {}`.

The billions of multiplications and additions a second that other figures are held against.
"""

import sys
import time

import numpy as np
from process import report

SIZE = 2048


def main() -> None:
    library = sys.argv[2]
    matrix = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    if library == "torch":
        import torch

        matrix = torch.from_numpy(matrix)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    # The fastest, since it stands for what the machine can do.
    report(gigaflops=2 * SIZE**3 / min(seconds) / 1e9)


if __name__ == "__main__":
    main()
