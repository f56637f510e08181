"""Break one guard or formula of the package at a time, and say whether the tests notice.

`python tests/faults/mutants.py --out found.json` goes through `mutants.toml` in a copy of the
project and prints one row of Markdown for each. After an interruption the same command goes on:
what the file already holds is not tried again. `CIFAR10_DIR` may name real cars, as an absolute
path; without it the stand-in is used. The exit code is 1 if a mutant is not caught.
"""

import argparse
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "diffusion_core"
NOT_CAUGHT = "NOT CAUGHT"
# Every run is a fork of one process that has the libraries in memory, which saves most of the time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["hypothesis", "keras", "pytest", "scipy.stats", "sklearn.neighbors"])


class Mutant(NamedTuple):
    """What is broken, and where: `old` stands once in the file, and `new` takes its place."""

    name: str
    file: str
    old: str
    new: str
    tests: str


def mutants() -> list[Mutant]:
    """Return the rows of the table; raise `SystemExit` with all that do not apply."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    found, faults = {}, []
    for heading, rows in table.items():
        file, tests = heading.split(" ", 1)
        text = (ROOT / PACKAGE / file).read_text()
        for name, (old, new) in rows.items():
            if name in found:
                faults.append(f"{name}: stands twice in the table")
            elif text.count(old) != 1:
                faults.append(f"{name}: {old!r} stands {text.count(old)} times in {file}")
            else:
                # A file that cannot be read as Python would be noticed by any test.
                compile(text.replace(old, new), f"{file}, where {name}", "exec")
            found[name] = Mutant(name, file, old, new, re.sub(r"\S+\.py", r"tests/\g<0>", tests))
    if faults:
        raise SystemExit("\n".join(faults))
    return list(found.values())


def work(copy: Path, words: list[str], log: Path) -> None:
    """Run pytest in a process of its own, as `NAME=value python -m pytest` would in the copy."""
    os.setsid()
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(copy)
    # The copy comes before the package that is installed, here and in the children of the tests;
    # and a compiled file could outlive its mutant.
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
    os.environ |= dict(word.split("=", 1) for word in variables)
    if Path(find_spec(PACKAGE).origin) != copy / PACKAGE / "__init__.py" or PACKAGE in sys.modules:
        sys.exit("another package than the copy would be imported")
    import pytest

    sys.exit(int(pytest.main([word for word in words if word not in variables])))


def first_failure(copy: Path, tests: str, seconds: float | None = None) -> str | None:
    """Return the first test that fails, or how else pytest ended; None if all tests pass."""
    log = copy / "log"
    arguments = ["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]
    process = FORKS.Process(target=work, args=(copy, arguments, log))
    process.start()
    process.join(seconds)
    code = process.exitcode
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+)?)", log.read_text(), re.MULTILINE)
    if code == 0:
        return None
    if failed:
        return failed[1]
    if code == 1 or code in (4, 5):
        raise SystemExit(f"{tests} could not be run:\n{log.read_text()}")
    return f"no end in {seconds:.0f} seconds" if code is None else f"exit code {code}"


def make_copy(copy: Path) -> None:
    """Copy what git tracks, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)


def try_one(copy: Path, mutant: Mutant, limit: float) -> dict:
    """Return the mutant, what caught it, and after how many seconds."""
    path = copy / PACKAGE / mutant.file
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    began = time.monotonic()
    try:
        failed = first_failure(copy, mutant.tests, limit)
    finally:
        path.write_text(whole)
    seconds = round(time.monotonic() - began, 1)
    return mutant._asdict() | {"caught by": failed or NOT_CAUGHT, "seconds": seconds}


def main(only: str, out: Path | None, limit: float, baseline: bool) -> int:
    """Try the chosen mutants, print the table, and return the exit code."""
    chosen = [mutant for mutant in mutants() if only in mutant.name]
    known = json.loads(out.read_text()) if out and out.exists() else {}
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        make_copy(copy)
        if baseline:
            words = {word for mutant in chosen for word in shlex.split(mutant.tests)}
            failed = first_failure(copy, " ".join(sorted(word for word in words if ".py" in word)))
            if failed:
                raise SystemExit(f"{failed} fails without any mutant.")
        print("| what is broken | caught by | seconds |\n| --- | --- | --- |", flush=True)
        for mutant in chosen:
            row = known.get(mutant.name, {})
            # A row that was edited since then is tried anew.
            if not mutant._asdict().items() <= row.items():
                row = known[mutant.name] = try_one(copy, mutant, limit)
                if out:
                    out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
            caught += row["caught by"] != NOT_CAUGHT
            print(f"| {mutant.name} | {row['caught by']} | {row['seconds']} |", flush=True)
    print(f"\n{caught} of {len(chosen)} mutants are caught.")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="those whose name holds this text")
    parser.add_argument("--out", type=Path, help="a JSON file to write to and to go on from")
    parser.add_argument("--no-baseline", action="store_true", help="do not first run all tests")
    parser.add_argument("--limit", type=float, default=240, help="seconds for one mutant (240)")
    options = parser.parse_args()
    os.environ.setdefault("CIFAR10_DIR", "stand-in")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(options.only, options.out, options.limit, not options.no_baseline))
