"""Time every chapter in quick mode, start of the kernel included.

    .venv/bin/python bench/chapters.py        (about ten minutes on two quiet cores)

Writes results/chapters.json. The chapters run as copies, in order, in one temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import write_results

BOOK = Path(__file__).parent.parent / "book"


def main() -> None:
    environment = {**os.environ, "SIMPLE_DIFFUSION_BUDGET": "quick", "SIMPLE_DIFFUSION_STATIC": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for chapter in sorted(BOOK.glob("*.ipynb")):
            shutil.copy(chapter, folder)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbmake"]
            start = time.perf_counter()
            subprocess.run([*command, chapter.name], cwd=folder, env=environment, check=True)
            seconds = round(time.perf_counter() - start)
            rows.append({"chapter": chapter.stem, "seconds": seconds})
    write_results("chapters", rows)


if __name__ == "__main__":
    main()
