"""Two processes that both call themselves process 1, as in two containers that share a folder."""

import shutil
import subprocess
import sys
import time

import pytest

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
CHILD = """
import os, sys
from pathlib import Path
from diffusion_core.runs.files import FolderLock, write_atomically

folder, rounds = Path(sys.argv[1]), 0
assert os.getpid() == 1
while rounds < 10:
    write_atomically(folder / "file", sys.argv[2].encode() * 2**16)
    try:
        lock = FolderLock(folder)
    except BlockingIOError as error:
        assert "in use by process 1 on" in str(error) or "in use by another process" in str(error)
        continue
    with open(folder / "held", "x"):  # raises where the other one holds the lock too
        write_atomically(folder / "file", sys.argv[2].encode() * 2**16)
    (folder / "held").unlink()
    lock.release()
    rounds += 1
"""


def may_unshare():
    return shutil.which("unshare") and not subprocess.run([*CONTAINER, "true"]).returncode


def test_one_of_two_containers_holds_a_folder_and_both_write_whole_files(tmp_path):
    if not may_unshare():
        pytest.skip("this process may not make containers")
    command = [*CONTAINER, sys.executable, "-c", CHILD, str(tmp_path)]
    children = [subprocess.Popen([*command, mark]) for mark in "ab"]
    seen = set()
    while None in [child.poll() for child in children]:
        time.sleep(0.01)
        if (tmp_path / "file").exists():
            seen.add((tmp_path / "file").read_bytes())
    assert [child.returncode for child in children] == [0, 0]
    assert seen <= {b"a" * 2**16, b"b" * 2**16}
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".training-lock"}
