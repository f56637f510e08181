"""Habits of the whole repository that are easy to break and hard to see."""

import json
import re
import sys
from pathlib import Path

import pytest

import diffusion_core

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
CHAPTERS = [notebook for notebook in NOTEBOOKS if notebook.stem[0].isdigit()]
sys.path.insert(0, str(ROOT / "tools"))

import claims  # noqa: E402
import set_url  # noqa: E402


def cells(chapter, kind):
    return [c for c in json.loads(chapter.read_text())["cells"] if c["cell_type"] == kind]


def test_there_is_one_chapter_for_each_stage():
    stages = ["data", "schedule", "forward-noise", "model", "training", "sampling", "evaluation"]
    expected = [f"{number:02d}-{stage}" for number, stage in enumerate(stages, start=1)]
    assert [chapter.stem for chapter in CHAPTERS] == expected


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_lands_without_outputs(notebook):
    for cell in cells(notebook, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_starts_and_ends_alike(notebook):
    code = ["".join(cell["source"]) for cell in cells(notebook, "code")]
    assert code[0] == "".join(cells(CHAPTERS[0], "code")[0]["source"])
    assert "begin_chapter()" in code[1]
    assert code[-1] == "end_chapter()"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_says_where_it_leads_and_where_it_may_fail(chapter):
    text = "".join("".join(cell["source"]) for cell in cells(chapter, "markdown"))
    headings = ("What you will be able to do", "What can go wrong", "Summary", "Exercises", "Next")
    assert [heading for heading in headings if heading.lower() not in text.lower()] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_something_to_move_with_and_without_a_kernel(chapter):
    code = "".join("".join(cell["source"]) for cell in cells(chapter, "code"))
    assert "stepper(" in code
    assert "explore(" in code
    assert code.count("# @title Solution") >= 4


def test_the_readme_claims_what_was_measured():
    assert claims.SECTION.search(claims.README.read_text())[0] == claims.claims()


def test_the_shipped_network_comes_from_one_run_to_its_end():
    history = diffusion_core.load_history()
    rates = [4e-3 * (1 - step / history["step"][-1]) for step in history["step"]]
    assert history["learning_rate"] == pytest.approx(rates, abs=1e-9)
    card = (ROOT / "diffusion_core" / "pretrained" / "README.md").read_text()
    assert f"train --epochs {history['epoch'][-1]} " in card


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
    setup = "".join(cells(CHAPTERS[0], "code")[0]["source"])
    assert f"git+{url}" in setup


def test_one_command_rewrites_the_url_everywhere(tmp_path, monkeypatch):
    old = set_url.stated_url()
    for path in [*set_url.files_with_url()]:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    monkeypatch.setattr(set_url, "ROOT", tmp_path)
    monkeypatch.setattr(set_url, "CONFIG", tmp_path / "_config.yml")
    set_url.main("https://github.com/a-teacher/my-course")
    assert set_url.stated_url() == "https://github.com/a-teacher/my-course"
    for path in set_url.files_with_url():
        text = path.read_text()
        assert old.removeprefix("https://") not in text
        assert set_url.pages_url(old) not in text
    assert "a-teacher.github.io/my-course" in (tmp_path / "_config.yml").read_text()


@pytest.mark.parametrize("url", ["", "my-course", "https://example.org/a/b"])
def test_a_bad_url_changes_nothing(url):
    with pytest.raises(SystemExit, match="expected https://github"):
        set_url.main(url)


def test_every_public_name_says_what_it_is():
    for name in diffusion_core.__all__:
        assert len(getattr(diffusion_core, name).__doc__) > 60, name


def test_no_stage_imports_a_later_one():
    order = ["checks", "files", "data", "schedule", "forward", "model", "classifier", "checkpoints"]
    order += ["training", "sampling", "evaluation"]
    for number, module in enumerate(order):
        text = (ROOT / "diffusion_core" / f"{module}.py").read_text()
        imports = re.findall(r"^from diffusion_core(?:\.| import )([\w, ]+)", text, re.MULTILINE)
        later = {*order[number + 1 :], "figures", "notebook"}
        assert not later & set(", ".join(imports).replace(" import", ",").split(", ")), module
