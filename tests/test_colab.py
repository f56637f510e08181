"""The setup cell of every chapter, in a stand-in of Colab: Drive declined, mounted, refused, later.

`tests/environments/run.py colab` runs the whole chapters so.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from diffusion_core import default_weights_dir
from diffusion_core.runs import files
from diffusion_core.sources import cifar10

ROOT = Path(__file__).parent.parent
CELLS = json.loads((ROOT / "book" / "01-data.ipynb").read_text())["cells"]
CELL = "".join(next(cell["source"] for cell in CELLS if cell["cell_type"] == "code"))


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """A machine that Colab lends: `google.colab` is loaded, the reader has a Drive."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "environments")
    import google.colab

    (tmp_path / "content").mkdir()
    (tmp_path / "the reader's Drive").mkdir()
    monkeypatch.setenv("COLAB_DRIVE", str(tmp_path / "the reader's Drive"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "DRIVE", tmp_path / "content" / "drive" / "MyDrive")
    yield google.colab
    for name in ("google.colab.drive", "google.colab"):
        sys.modules.pop(name, None)


@pytest.fixture
def run_cell(tmp_path):
    """Run the setup cell with its box ticked or not; return the lines that it gave to pip."""

    def run(use_drive):
        assert CELL.count("use_drive = False") == CELL.count('"/content/drive"') == 1
        cell = CELL.replace("use_drive = False", f"use_drive = {use_drive}")
        cell = cell.replace("/content/drive", str(tmp_path / "content" / "drive"))
        asked = []
        shell = SimpleNamespace(run_line_magic=lambda name, line: asked.append(f"%{name} {line}"))
        exec(TransformerManager().transform_cell(cell), {"get_ipython": lambda: shell})
        return asked

    return run


def test_outside_colab_the_cell_does_nothing(run_cell):
    assert run_cell(use_drive=True) == []


def test_in_colab_the_cell_installs_the_package_and_leaves_drive_alone(colab, run_cell):
    (line,) = run_cell(use_drive=False)
    assert line.startswith("%pip install -q --no-deps prdc==0.2 git+{home}@v")
    assert files.drive_dir() is None


def test_a_reader_who_wants_it_keeps_weights_and_cars_on_drive(colab, run_cell, tmp_path):
    run_cell(use_drive=True)
    kept = tmp_path / "the reader's Drive" / "simple-diffusion"
    assert default_weights_dir().resolve() == kept / "weights"
    cifar10._write_cache({(1, "train"): np.zeros((1, 32, 32, 3), np.uint8)})
    assert [path.name for path in kept.iterdir()] == ["cifar10-automobile-train.npy"]
    assert not (tmp_path / "cache").exists()


def test_a_reader_who_refuses_goes_on_without_drive(colab, run_cell, monkeypatch, tmp_path):
    monkeypatch.delenv("COLAB_DRIVE")
    with pytest.raises(colab.MessageError, match="credential propagation was unsuccessful"):
        run_cell(use_drive=True)
    assert files.drive_dir() is None
    assert default_weights_dir() == Path("weights")
    assert cifar10.cache_dir() == tmp_path / "cache" / "simple-diffusion"


def test_drive_may_be_mounted_later_and_twice(colab, run_cell, capsys):
    run_cell(use_drive=False)
    assert default_weights_dir() == Path("weights")
    for _ in range(2):
        run_cell(use_drive=True)
        assert default_weights_dir() == files.DRIVE / "simple-diffusion" / "weights"
    assert "Drive already mounted" in capsys.readouterr().out
    colab.drive.flush_and_unmount(files.DRIVE.parent)
    assert default_weights_dir() == Path("weights")
