"""A real process whose output nobody can take: it goes on, saves, and ends with the right code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_disk import mounted

FAULTS = Path(__file__).parent
SMALL = f"""
import runpy, sys
sys.path.insert(0, {str(FAULTS)!r})
import kill
from diffusion_core import model
model.make_model = kill.one_convolution
runpy.run_module("diffusion_core", run_name="__main__", alter_sys=True)
"""
TRAIN = "train --epochs 2 --images 64 --batch-size 2 --weights-dir run"


def shell(line, folder, **environment):
    """Run a shell line, in which `small` is the terminal with a small network."""
    surroundings = {**os.environ, "PYTHONPATH": str(FAULTS.parent.parent), "SMALL": SMALL}
    surroundings |= {"PYTHON": sys.executable}
    surroundings |= {"CIFAR10_DIR": "stand-in", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    line = line.replace("small", '"$PYTHON" -c "$SMALL"')
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, cwd=folder, env=surroundings, timeout=300).returncode


@pytest.mark.parametrize("output", [">/dev/full 2>&1", "2>&1 | head -c 300", ">&- 2>&-"])
def test_training_goes_on_where_nothing_can_be_shown(tmp_path, output):
    assert shell(f"small {TRAIN} {output}", tmp_path) == 0
    found = sorted(path.name for path in (tmp_path / "run").glob("state-*"))
    assert found[-1] == "state-000002-000000064.safetensors"


def test_training_goes_on_when_the_disk_of_its_log_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)):
        pytest.skip("this process may not mount; /dev/full stands for a full disk")
    try:
        line = f"{{ head -c 64000 /dev/zero; small {TRAIN}; }} >disk/log 2>&1"
        assert shell(line, tmp_path, TQDM_MININTERVAL="0") == 0
        assert (disk / "log").stat().st_size == 2**16
    finally:
        mounted("umount", "--lazy", str(disk))
    assert (tmp_path / "run" / "state-000002-000000064.safetensors").exists()


def test_an_encoding_cannot_stop_a_command(tmp_path):
    line = """"$PYTHON" -m diffusion_core sample --n 1 --steps 1 --out $'caf\\xc3\\xa9\\xff.npy'"""
    assert shell(line, tmp_path, PYTHONIOENCODING="ascii") == 0
    assert len(list(tmp_path.iterdir())) == 1
