import pytest
from PIL import Image

from diffusion_core.page import notebook


@pytest.fixture
def shown(monkeypatch):
    things = []
    monkeypatch.setattr(notebook, "display", things.append)
    return things


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("CIFAR10_DIR", "SIMPLE_DIFFUSION_BUDGET", "SIMPLE_DIFFUSION_STATIC"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpu_decides_on_the_budget_and_the_environment_overrides_it(monkeypatch, capsys):
    monkeypatch.setattr(notebook.keras.distribution, "list_devices", lambda kind: ["gpu:0"])
    assert notebook.begin_chapter() == "full"
    monkeypatch.setattr(notebook.keras.distribution, "list_devices", lambda kind: [])
    assert notebook.begin_chapter() == "quick"
    assert "budget: quick" in capsys.readouterr().out
    monkeypatch.setenv("SIMPLE_DIFFUSION_BUDGET", "full")
    assert notebook.begin_chapter() == "full"
    monkeypatch.setenv("SIMPLE_DIFFUSION_BUDGET", "huge")
    with pytest.raises(ValueError, match=r"'huge'; expected \"quick\" or \"full\""):
        notebook.begin_chapter()


def test_the_stand_in_is_announced_in_a_box_and_real_cars_are_not(monkeypatch, shown, tmp_path):
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path))
    notebook.begin_chapter()
    assert shown == []
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    notebook.begin_chapter()
    assert "stand-in cars" in shown[0].data


def test_for_a_page_a_control_is_tried_and_its_errors_are_not_hidden(monkeypatch, shown):
    monkeypatch.setenv("SIMPLE_DIFFUSION_STATIC", "1")
    calls = []
    notebook.explore(lambda **given: calls.append(given), seed=(0, 8), steps=[16, 4])
    assert calls[-1] == {"seed": 4, "steps": 16}
    assert shown == []
    with pytest.raises(ZeroDivisionError):
        notebook.explore(lambda seed: 1 / 0, seed=(0, 8))


def test_a_live_control_calls_the_function_with_its_new_value(shown):
    calls = []
    notebook.explore(lambda seed: calls.append(seed), seed=(0, 8))
    (widget,) = shown
    widget.children[0].value = 7
    widget.update()
    assert calls[-1] == 7


def test_a_chapter_ends_with_its_time(capsys):
    notebook.begin_chapter()
    notebook.end_chapter()
    assert "this chapter took 0 min 0 s" in capsys.readouterr().out


def test_what_was_recorded_is_found_in_the_package_and_pictures_come_as_pixels(
    monkeypatch, tmp_path
):
    assert notebook.recorded("peers-training")["rows"]
    with pytest.raises(ValueError, match=r"nothing is recorded as fast\.json"):
        notebook.recorded("fast")
    Image.new("RGB", (3, 2), "red").save(tmp_path / "sheet.png")
    monkeypatch.setattr(notebook.resources, "files", lambda package: tmp_path)
    assert notebook.recorded("sheet.png").tolist() == [[[255, 0, 0]] * 3] * 2


def test_a_table_shows_the_columns_that_are_asked_for_in_their_order():
    rows = [{"what": "ours", "speed": 1.5, "n": 2}, {"what": "theirs", "speed": 1, "n": 3}]
    assert notebook.table(rows, ["n", "what"]).data == (
        "| n | what |\n| --- | --- |\n| 2 | ours |\n| 3 | theirs |"
    )
    assert notebook.table(rows).data.splitlines()[0] == "| what | speed | n |"
