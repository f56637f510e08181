"""Collect the time that every chapter printed when `make book` or `make test` last ran it.

    make test && .venv/bin/python bench/chapters.py

Writes results/chapters.json. Only a build on a quiet machine is worth collecting.
"""

import json
import re
from pathlib import Path

from recording import write_results

EXECUTED = Path(__file__).parent.parent / "_executed"


def main() -> None:
    rows = []
    for chapter in sorted(EXECUTED.glob("*.ipynb")):
        text = json.dumps(json.loads(chapter.read_text())["cells"][-2:])
        minutes, seconds = re.search(r"this chapter took (\d+) min (\d+) s", text).groups()
        budget = re.search(r"budget: (\w+)", chapter.read_text()).group(1)
        rows.append(
            {"chapter": chapter.stem, "budget": budget, "seconds": 60 * int(minutes) + int(seconds)}
        )
    write_results("chapters", rows)


if __name__ == "__main__":
    main()
