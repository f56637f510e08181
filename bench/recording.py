"""How benches are chosen, and results written down: as JSON with the machine, and as a table."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from diffusion_core.page.machine import describe_machine
from diffusion_core.page.notebook import table

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, rows: list[dict], folder: Path = RESULTS, **about) -> None:
    """Write rows to NAME.json with the machine and what else is known of them, and print them."""
    content = {"machine": describe_machine(), **about, "rows": rows}
    # Printed first, so that no rows at all fail here and replace nothing.
    print(table(rows).data)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")


def read_results(name: str, folder: Path = RESULTS) -> dict:
    """Return what `write_results` wrote, or no rows when there is no such file yet."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def keep_whole(parser: argparse.ArgumentParser, folder: Path) -> None:
    """End the command where a part would replace what is recorded of the whole."""
    if folder.resolve() == RESULTS.resolve():
        parser.error("a part would replace the whole results; name another folder by --results.")


def read_arguments(parser: argparse.ArgumentParser, benches: Iterable[str]) -> argparse.Namespace:
    """Return the benches that the command line names, or all, and the options of the command."""
    parser.add_argument("what", nargs="*", default=list(benches), help=", ".join(benches))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    arguments = parser.parse_args()
    # argparse's own `choices` refuses the default of `nargs="*"`.
    for what in arguments.what:
        if what not in benches:
            parser.error(f"there is no bench {what!r}; expected some of {', '.join(benches)}.")
    return arguments
