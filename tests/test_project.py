"""Habits of the whole repository that are easy to break and hard to see."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import yaml

import diffusion_core
from diffusion_core.page.notebook import recorded
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.pretrained import GUIDE

ROOT = Path(__file__).parent.parent
CORE = ROOT / "diffusion_core"
PINS = ("requirements.txt", "bench/requirements.txt", "web/node.txt")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
sys.path.insert(0, str(ROOT / "tools"))

import claims  # noqa: E402
import set_url  # noqa: E402
from test_book import CHAPTERS, STAGES, code  # noqa: E402


def test_the_readme_claims_what_was_measured():
    assert claims.SECTION.search(claims.README.read_text())[0] == claims.claims()


def test_the_shipped_network_comes_from_one_run_to_its_end():
    history = diffusion_core.load_history()
    rates = [4e-3 * (1 - step / history["step"][-1]) for step in history["step"]]
    assert history["learning_rate"] == pytest.approx(rates, abs=1e-9)
    card = (ROOT / "diffusion_core" / "pretrained" / "README.md").read_text()
    assert f"train --epochs {history['epoch'][-1]} " in card


def test_the_results_shown_belong_to_the_shipped_weights():
    strong, weak = (diffusion_core.load_pretrained(name) for name in ("small", GUIDE))
    measured = {"evaluation": strong, "evaluation-guided": diffusion_core.guided(strong, weak)}
    names = ("guidance", "samplers", "levels", "jumps", "editing")
    measured |= dict.fromkeys(names, strong)
    for name, network in measured.items():
        assert recorded(name)["network"] == weights_digest(network), name
    assert recorded("editing")["guide"] == weights_digest(weak)
    assert recorded("classes")["network"] == weights_digest(diffusion_core.load_pretrained("ten"))
    (learned,) = (row for row in recorded("classes")["rows"] if row["rule"] == "learned")
    assert learned["network"] == weights_digest(diffusion_core.load_pretrained("ten-guided"))
    assert recorded("jumps")["jumps"] == weights_digest(diffusion_core.load_pretrained("jumps"))


def test_the_stated_url_is_the_only_one():
    url = set_url.stated_url()
    owner, name = url.split("/")[-2:]
    strangers = []
    for path in set_url.files_with_url():
        for found in re.findall(
            r"github\.com/[\w.-]+/[\w.-]+|[\w-]+\.github\.io/[\w-]+", path.read_text()
        ):
            ours = (f"github.com/{owner}/{name}", f"{owner}.github.io/{name}")
            if owner in found and not found.removesuffix(".git").startswith(ours):
                strangers.append((path.name, found))
    assert strangers == []
    assert f'home = "{url}"' in code(CHAPTERS[0])[0]
    assert f"git+{{home}}@{set_url.tag()}\n" in code(CHAPTERS[0])[0]


def test_one_command_rewrites_the_url_everywhere(tmp_path, monkeypatch):
    old = set_url.stated_url()
    for path in set_url.files_with_url():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.setattr(set_url, "ROOT", tmp_path)
    monkeypatch.setattr(set_url, "CONFIG", tmp_path / "_config.yml")
    project = tmp_path / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"', 'version = "9.9.9"', project.read_text()))
    set_url.main("https://github.com/a-teacher/my-course")
    assert "git+{home}@v9.9.9" in (tmp_path / "book" / CHAPTERS[0].name).read_text()
    assert set_url.stated_url() == "https://github.com/a-teacher/my-course"
    for path in set_url.files_with_url():
        assert old.removeprefix("https://") not in path.read_text()
        assert set_url.pages_url(old) not in path.read_text()
    assert "a-teacher.github.io/my-course" in (tmp_path / "_config.yml").read_text()


def test_a_bad_url_changes_nothing():
    for url in ("", "my-course", "https://example.org/a/b"):
        with pytest.raises(SystemExit, match="expected https://github"):
            set_url.main(url)


def test_every_public_name_says_what_it_is():
    for name in diffusion_core.__all__:
        assert len(getattr(diffusion_core, name).__doc__) > 60, name


def test_imports_lead_from_the_page_to_the_stages_to_the_rooms_below():
    stages = [[stage] for stage in STAGES if stage != "samplers"]
    stages.insert(STAGES.index("sampling"), ["samplers"])  # rules that know of no network
    floors = [["checks"], ["runs"], ["sources"], *stages, ["page"]]
    order = {name: number for number, names in enumerate(floors) for name in names}
    for path in [path for path in CORE.rglob("*.py") if not path.name.startswith("__")]:
        floor = order[path.relative_to(CORE).parts[0].removesuffix(".py")]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("diffusion_core"):
                found = node.module.split(".")[1:] or [alias.name for alias in node.names]
                assert order[found[0]] <= floor, f"{path.name} imports {found[0]}"


def test_the_package_and_its_help_need_no_tensorflow():
    asked = "import sys, diffusion_core.schedule, diffusion_core.__main__ as terminal; "
    asked += "print(not {'tensorflow', 'keras'} & set(sys.modules)); terminal.main(['--help'])"
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert answer.stdout.startswith("True"), answer.stderr


def test_a_keras_that_is_too_old_is_said_at_import(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.9.2")
    with pytest.raises(ImportError, match=r"Keras 3.9.2 is installed; expected at least 3.13. Run"):
        importlib.reload(diffusion_core)


def make(folder, target, **environment):
    """Run make in a new folder that holds what it needs to begin."""
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = ["make", "--silent", f"PYTHON={sys.executable}", target]
    settings = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


@pytest.mark.parametrize("name", ['a "$(touch x)"', "a `touch x`", 'a "; touch x; "', "a '''+b"])
def test_a_folder_whose_name_a_shell_would_run_is_refused(tmp_path, name):
    answer = make(tmp_path / name, ".venv/ready", PIP_NO_INDEX="1")
    assert "Rename it without quotes" in answer.stderr
    assert not (tmp_path / name / ".venv").exists()


@pytest.mark.parametrize("name", ["$(shell touch x)", '"; touch x; "', "`touch x`", "$(touch x)"])
def test_make_runs_nothing_that_the_folder_of_the_data_is_named(tmp_path, name):
    folder = tmp_path / "a b; touch x"
    answer = make(folder, "_executed/.data-source", CIFAR10_DIR=f"/data {name}")
    assert (folder / "_executed" / ".data-source").read_text() == f"/data {name}\n", answer.stderr
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_what_they_use_and_may_only_read(workflow):
    text = workflow.read_text()
    used = re.findall(r"uses: (?!\./)(.*)", text)
    assert [use for use in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", use)] == []
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    asked = " ".join(re.findall(r"pip install (.*)", text)).split()
    pinned = (ROOT / "requirements.txt").read_text().split()
    packages = [word for word in asked if word[0] != "-" and not (ROOT / word).exists()]
    assert set(packages) <= set(pinned)


@pytest.mark.parametrize("path", [ROOT / "Makefile", *WORKFLOWS], ids=lambda path: path.stem)
def test_chapters_run_whatever_an_editor_calls_their_kernel(path):
    assert re.findall(r"--nbmake (?!--nbmake-kernel=python3 )", path.read_text()) == []


@pytest.mark.parametrize("name", PINS)
def test_every_pin_has_a_hash_and_names_no_host(name):
    text = (ROOT / name).read_text()
    packages = re.split(r"\n(?=\w)", text)[1:]
    assert packages
    assert [
        pin for pin in packages if not re.match(r"\S+==.* \\\n    --hash=sha256:\w{64}", pin)
    ] == []
    assert "://" not in text
