"""How results are written down: as JSON with the machine, and as a Markdown table."""

import json
from pathlib import Path

from diffusion_core.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, rows: list[dict]) -> None:
    """Write rows to results/NAME.json with the machine they come from, and print them."""
    text = json.dumps({"machine": describe_machine(), "rows": rows}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
