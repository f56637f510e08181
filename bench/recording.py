"""How benches are chosen, and results written down: as JSON with the machine, and as a table."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from diffusion_core.page.machine import describe_machine
from diffusion_core.page.notebook import table

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, rows: list[dict], folder: Path = RESULTS, **about) -> None:
    """Write rows to NAME.json with the machine and what else is known of them, and print them."""
    content = {"machine": describe_machine(), **about, "rows": rows}
    # Printed first, so that no rows at all fail here and replace nothing.
    alike = [row for row in rows if row.keys() == rows[-1].keys()]  # a table needs equal columns
    print(table(alike).data)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")


def read_results(name: str, folder: Path = RESULTS) -> dict:
    """Return what `write_results` wrote, or no rows when there is no such file yet."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def add_rows(name: str, settings: Iterable[dict], measure: Callable, folder: Path, **about) -> None:
    """Add `setting | measure(setting)` to NAME.json for each setting that has no row there yet.

    So a command that takes hours can be stopped and started again. Rows of anything else than
    what is said `about` them, such as another network, are dropped.
    """
    saved = read_results(name, folder)
    rows = saved["rows"] if about.items() <= saved.items() else []
    for setting in settings:
        if not any(setting.items() <= row.items() for row in rows):
            rows.append(setting | measure(setting))
            write_results(name, rows, folder, **about)


def read_arguments(description: str, known: Iterable[str] = (), **options) -> argparse.Namespace:
    """Return which of `known` the command line names, or all, as `what`; and the options.

    An option is given by its default, whose type it has, or by the settings of `add_argument`.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(known), help=", ".join(known))
    for name, settings in {"results": RESULTS, **options}.items():
        if not isinstance(settings, dict):
            settings = {"type": type(settings), "default": settings, "help": f"{settings}"}
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    arguments = parser.parse_args()
    # argparse's own `choices` refuses to be given none.
    if strangers := set(arguments.what) - set(known):
        parser.error(f"there is no {', '.join(strangers)}; expected some of {', '.join(known)}.")
    return arguments


def run_benches(benches: Iterable[Callable], description: str, **options) -> None:
    """Run what the command line names, each bench with the arguments; see `read_arguments`."""
    by_name = {bench.__name__: bench for bench in benches}
    arguments = read_arguments(description, by_name, **options)
    for what in arguments.what:
        by_name[what](arguments)
