"""Habits of the whole repository that are easy to break and hard to see."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import diffusion_core
from diffusion_core.page.notebook import recorded
from diffusion_core.sources.pretrained import GUIDE, weights_digest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "diffusion_core"
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
    measured |= {"guidance": strong, "samplers": strong, "jumps": strong}
    for name, network in measured.items():
        assert recorded(name)["network"] == weights_digest(network), name
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
    assert f"git+{url}" in code(CHAPTERS[0])[0]


def test_one_command_rewrites_the_url_everywhere(tmp_path, monkeypatch):
    old = set_url.stated_url()
    for path in set_url.files_with_url():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.setattr(set_url, "ROOT", tmp_path)
    monkeypatch.setattr(set_url, "CONFIG", tmp_path / "_config.yml")
    set_url.main("https://github.com/a-teacher/my-course")
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
