"""What every chapter brings along: a module, exercises, questions, words that are explained.

The chapters are read as text; `make test` runs their code elsewhere.
"""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

BOOK = Path(__file__).parent.parent / "book"
CORE = BOOK.parent / "diffusion_core"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
STAGES = ["data", "schedule", "forward", "model", "training", "sampling", "evaluation"]
STAGES += ["guidance", "samplers", "jumps", "classes", "editing"]

# Blank lines around an answer let Colab and the website read it as Markdown.
DETAILS = re.compile(r"<details>\n<summary>([^\n]+)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)

NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
PAGES = sorted([*NOTEBOOKS, *BOOK.glob("*.md")])
chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
notebooks = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def cells(notebook):
    """Return the kind, the text and the metadata of every cell."""
    found = json.loads(notebook.read_text())["cells"]
    return [(cell["cell_type"], "".join(cell["source"]), cell["metadata"]) for cell in found]


def code(notebook):
    """Return the text of every code cell."""
    return [text for kind, text, _ in cells(notebook) if kind == "code"]


def markdown(page):
    """Return the text of a page, be it a notebook or not."""
    if page.suffix == ".md":
        return page.read_text()
    return "\n\n".join(text for kind, text, _ in cells(page) if kind == "markdown")


def test_every_stage_has_a_chapter_a_module_and_a_test_file_that_name_each_other():
    assert [chapter.stem.split("-")[1] for chapter in CHAPTERS] == STAGES
    for number, (stage, chapter) in enumerate(zip(STAGES, CHAPTERS, strict=True), start=1):
        module = (CORE / f"{stage}.py").read_text()
        assert module.startswith(f'"""Chapter {number}, {stage}')
        # So that it can be printed beside its chapter.
        assert module.count("\n") <= 150
        assert f"diffusion_core/{stage}.py" in chapter.read_text()
        assert Path(__file__).with_name(f"test_{stage}.py").is_file()


@notebooks
def test_every_notebook_starts_and_ends_alike_and_lands_without_outputs(notebook):
    assert not re.search(r'"(outputs": \[[^]]|execution_count": \d)', notebook.read_text())
    setup, begin, *_, end = code(notebook)
    assert setup == code(CHAPTERS[0])[0]
    assert "begin_chapter()" in begin
    assert end == "end_chapter()"


@notebooks
def test_a_control_that_needs_a_kernel_is_left_out_of_the_page(notebook):
    tags = [metadata.get("tags") for _, text, metadata in cells(notebook) if "explore(" in text]
    assert [tag for tag in tags if tag != ["remove-cell"]] == []


@chapters
def test_every_chapter_says_where_it_leads_and_has_something_to_move(chapter):
    words = markdown(chapter).lower()
    headings = ("what you will be able to do", "what can go wrong", "summary", "exercises", "next")
    assert [heading for heading in headings if heading not in words] == []
    assert {"stepper(", "explore("} <= set(re.findall(r"\w+\(", "\n".join(code(chapter))))


@chapters
def test_every_chapter_has_exercises_of_four_kinds_each_with_a_hidden_solution(chapter):
    kinds = re.findall(r"^\*\*\d · (\w+)\.\*\*", markdown(chapter), re.MULTILINE)
    assert {"Predict", "Compute", "Code", "Break"} <= set(kinds)
    found = cells(chapter)
    numbers = []
    for place, (_, exercise, _) in enumerate(found):
        number = re.search(r"^\*\*(\d) · \w+\.\*\*", exercise, re.MULTILINE)
        if number:
            numbers.append(int(number.group(1)))
            # A cell that checks the reader's own answer may come before the solution.
            checks = "None  # yours" in found[place + 1][1]
            kind, solution, metadata = found[place + 1 + checks]
            assert kind == "code"
            assert solution.startswith(f"# @title Solution {numbers[-1]}\n")
            assert "hide-cell" in metadata["tags"]
            assert metadata["cellView"] == "form"
            assert metadata["jupyter"] == {"source_hidden": True}
    assert numbers == list(range(1, len(numbers) + 1))


@notebooks
def test_code_is_as_wide_as_its_box(notebook):
    lines = [line for text in code(notebook) for line in text.splitlines()]
    assert [line for line in lines if len(line) > 76] == []


@chapters
def test_answers_that_are_code_can_be_checked(chapter):
    texts = [text for _, text, _ in cells(chapter)]
    asked = [place for place, text in enumerate(texts) if "· Code.**" in text]
    assert all("None  # yours" in texts[place + 1] for place in asked)


@chapters
def test_every_chapter_asks_three_questions_and_explains_every_answer(chapter):
    (text,) = (text for _, text, _ in cells(chapter) if text.startswith("## Check yourself\n"))
    questions = re.split(r"\*\*Question (\d)\.\*\* ", text)[1:]
    assert questions[::2] == ["1", "2", "3"]
    for question in questions[1::2]:
        answers = DETAILS.findall(question)
        assert question.count("<details>") == question.count("</details>") == len(answers) == 3
        assert [summary[:4] for summary, _ in answers] == ["A · ", "B · ", "C · "]
        verdicts = [re.match(r"\*\*(Right|No)\.\*\* .{40}", words) for _, words in answers]
        assert all(verdicts), "an answer has no verdict or no explanation"
        assert [verdict.group(1) for verdict in verdicts].count("Right") == 1


@pages
def test_folded_text_can_be_read_everywhere(page):
    text = markdown(page)
    found = DETAILS.findall(text)
    assert text.count("<details>") == text.count("</details>") == len(found)
    # A summary is HTML: Markdown and formulas would stand there as typed.
    assert [summary for summary, _ in found if re.search(r"[$*`]", summary)] == []


def slug(heading):
    """Return the address of a heading, as GitHub and the website make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def addresses(page):
    """Return the addresses of a page's headings."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", markdown(page), re.MULTILINE)}


def links(page):
    """Return `(file, address)` of every link of a page into the book."""
    return re.findall(r"\]\(([\w-]*(?:\.md|\.ipynb)?)(?:#([^)\s]+))?\)", markdown(page))


@pages
def test_links_lead_to_headings_that_exist(page):
    for file, address in links(page):
        target = BOOK / file if file else page
        assert target.is_file(), file
        assert not address or address in addresses(target), f"{file}#{address}"


def test_the_glossary_and_the_chapters_link_to_each_other():
    text = (BOOK / "glossary.md").read_text()
    entries = re.findall(r"^### (.+)\n\n.+ \(\[chapter (\d+)\]\((.+)\)\)$", text, re.MULTILINE)
    assert len(entries) == text.count("\n### ")
    assert [term for term, *_ in entries] == sorted((e[0] for e in entries), key=str.lower)
    for term, number, chapter in entries:
        assert chapter.startswith(f"{int(number):02d}-")
        assert ("glossary.md", slug(term)) in links(BOOK / chapter), term


def four_names():
    """Return `(name, code, code of the way back)` of each answer on the page of notation."""
    text = (BOOK / "notation.md").read_text()
    table = text.split("## Four names for one answer")[1].split("\n## ")[0]
    return re.findall(r"\| `(\w+) = (.+?)` \| `(.+?)` \|", table)


@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_the_four_names_are_what_bayes_and_closed_forms_say_and_lead_back_to_the_direction(a):
    mean, deviation, z = 0.3, 0.6, 1.7
    # Clean numbers from N(0.3, 0.6²): the noisy ones are normal, too, and x lies z deviations off.
    spread = np.hypot((1 - a) * deviation, a)
    x = (1 - a) * mean + spread * z
    # Each clean number counts by how likely it is, and how likely the noise that makes it x.
    x0 = np.linspace(-6, 6, 200_001)
    epsilon = (x - (1 - a) * x0) / a
    weights = np.exp(-(((x0 - mean) / deviation) ** 2) / 2 - epsilon**2 / 2)

    def average(values):
        return (weights * values).sum() / weights.sum()

    def path(level):  # a start's way on: it keeps its place, z, in the crowd
        return (1 - level) * mean + np.hypot((1 - level) * deviation, level) * z

    expected = {
        "clean": average(x0),
        "noise": average(epsilon),
        "velocity": (path(a - 1e-5) - path(a + 1e-5)) / 2e-5,
        "score": -z / spread,  # the derivative of the normal distribution's logarithm
    }
    names = four_names()
    assert [name for name, _, _ in names] == list(expected)
    for name, formula, back in names:
        known = {"x": x, "a": a, "d": average(x0 - epsilon)}
        known[name] = eval(formula, known)
        assert known[name] == pytest.approx(expected[name], abs=1e-6), name
        assert eval(back, known) == pytest.approx(known["d"], abs=1e-9), name


def messages_of_the_package():
    """Return every text in the package's code, with `…` for what is filled in."""
    texts = []
    for file in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_the_sentences_on_the_page_of_errors_are_those_of_the_package():
    known = messages_of_the_package()
    quoted = re.findall(r"```text\n(.+?)\n```", (BOOK / "wrong.md").read_text(), re.DOTALL)
    assert len(quoted) > 10
    assert [q for q in quoted if not any(q in text for text in known)] == []


def test_the_minutes_of_every_lesson_add_up():
    plans = re.split(r"^## ", (BOOK / "teachers.md").read_text(), flags=re.MULTILINE)
    plans = [plan for plan in plans if "| minutes |" in plan]
    assert len(plans) == 6
    for plan in plans:
        total = int(re.search(r"(\d+) minutes", plan.splitlines()[0]).group(1))
        minutes = [int(m) for m in re.findall(r"^\| (\d+) \|", plan, re.MULTILINE)]
        assert sum(minutes) == total, plan.splitlines()[0]
