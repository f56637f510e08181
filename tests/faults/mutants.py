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

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "diffusion_core"
NOT_CAUGHT = "NOT CAUGHT"
# Every run is a fork of one process that has the libraries in memory, which saves most of the time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["hypothesis", "keras", "pytest", "scipy.stats", "sklearn.neighbors"])


def mutants() -> list[dict[str, str]]:
    """Return the rows of the table; raise `SystemExit` with all that do not apply.

    What is broken, and where: `old` stands once in the file, and `new` takes its place.
    """
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    found, faults = {}, []
    for heading, rows in table.items():
        file, tests = heading.split(" ", 1)
        tests = re.sub(r"\S+\.py", r"tests/\g<0>", tests)
        text = (ROOT / PACKAGE / file).read_text()
        for name, (old, new) in rows.items():
            if name in found:
                faults.append(f"{name}: stands twice in the table")
            elif text.count(old) != 1:
                faults.append(f"{name}: {old!r} stands {text.count(old)} times in {file}")
            else:
                # A file that cannot be read as Python would be noticed by any test.
                compile(text.replace(old, new), f"{file}, where {name}", "exec")
            found[name] = {"name": name, "file": file, "old": old, "new": new, "tests": tests}
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
    arguments = ["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]
    process = FORKS.Process(target=work, args=(copy, arguments, copy / "log"))
    process.start()
    process.join(seconds)
    code = process.exitcode
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    log = (copy / "log").read_text()
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+)?)", log, re.MULTILINE)
    if code == 0:
        return None
    if failed:
        return failed[1]
    if code in (1, 4, 5):
        raise SystemExit(f"{tests} could not be run:\n{log}")
    return f"no end in {seconds:.0f} seconds" if code is None else f"exit code {code}"


def make_copy(copy: Path) -> None:
    """Copy what git tracks, as it is now."""
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)


def try_one(copy: Path, mutant: dict, limit: float) -> dict:
    """Return the mutant, what caught it, and after how many seconds."""
    path = copy / PACKAGE / mutant["file"]
    whole = path.read_text()
    path.write_text(whole.replace(mutant["old"], mutant["new"]))
    began = time.monotonic()
    failed = first_failure(copy, mutant["tests"], limit)
    path.write_text(whole)
    seconds = round(time.monotonic() - began, 1)
    return {**mutant, "caught by": failed or NOT_CAUGHT, "seconds": seconds}


def main() -> int:
    """Try the chosen mutants, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="those whose name holds this text")
    parser.add_argument("--out", type=Path, help="a JSON file to write to and to go on from")
    parser.add_argument("--no-baseline", action="store_true", help="do not first run all tests")
    parser.add_argument("--limit", type=float, default=240, help="seconds for one mutant (240)")
    options = parser.parse_args()
    os.environ.setdefault("CIFAR10_DIR", "stand-in")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    chosen = [mutant for mutant in mutants() if options.only in mutant["name"]]
    out, caught = options.out, 0
    known = json.loads(out.read_text()) if out and out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        make_copy(copy)
        words = {
            word for mutant in chosen for word in shlex.split(mutant["tests"]) if ".py" in word
        }
        if not options.no_baseline and (failed := first_failure(copy, " ".join(sorted(words)))):
            raise SystemExit(f"{failed} fails without any mutant.")
        print("| what is broken | caught by | seconds |\n| --- | --- | --- |", flush=True)
        for mutant in chosen:
            name, row = mutant["name"], known.get(mutant["name"], {})
            # A row that was edited since then is tried anew.
            if not mutant.items() <= row.items():
                row = known[name] = try_one(copy, mutant, options.limit)
                if out:
                    out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
            caught += row["caught by"] != NOT_CAUGHT
            print(f"| {name} | {row['caught by']} | {row['seconds']} |", flush=True)
    print(f"\n{caught} of {len(chosen)} mutants are caught.")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
