"""The terminal: `train`, `sample` and `evaluate`, from --help to a folder of weights."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from safetensors import safe_open

from diffusion_core import (
    classes,
    data,
    evaluation,
    guided,
    jumps,
    linear_schedule,
    load_folder,
    load_pretrained,
    make_model,
    model,
    of_class,
    predict,
    predict_step,
    sampling,
    training,
    within,
)
from diffusion_core.__main__ import _parser, main
from diffusion_core.page import tables
from diffusion_core.page.figures import image_grid
from diffusion_core.runs import states
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources import folders
from diffusion_core.sources.features import FLOOR
from diffusion_core.sources.pretrained import GUIDE, GUIDES


def run(line):
    """Run a command as one would type it; return its exit code."""
    return main(line.split())


@pytest.fixture
def tiny_run(monkeypatch, tmp_path, without_xla):
    """Let `train` build a tiny network, and let its cars be random pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        model, "make_model", lambda **settings: make_model(**{"widths": (4,), **settings})
    )
    cars = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr(data, "load_cars", lambda: cars)
    return ["train", "--batch-size", "8", "--images", "16", "--weights-dir", "run"]


def test_help_explains_every_option_and_shows_examples(capsys):
    (commands,) = _parser()._subparsers._group_actions
    assert list(commands.choices) == ["train", "sample", "evaluate"]
    for command, parser in commands.choices.items():
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.count(f"python -m diffusion_core {command} --") >= 2
        assert [option.dest for option in parser._actions if not option.help] == []


def test_training_writes_states_and_pictures_and_goes_on_where_it_stopped(tiny_run, capsys):
    assert main([*tiny_run, "--epochs", "1"]) == 0
    assert "16 pictures; states and previews go to " in capsys.readouterr().out
    assert states.find_latest("run").name == "state-000001-000000002.safetensors"
    assert main([*tiny_run, "--epochs", "2"]) == 0
    latest = states.find_latest("run")
    assert latest.name == "state-000002-000000004.safetensors"
    history = states.read_about(latest)["history"]
    assert (history["epoch"], history["step"]) == ([1, 2], [2, 4])
    for epoch in (1, 2):
        picture = Image.open(f"run/preview-epoch-{epoch:03d}.png")
        assert picture.size == (2 * (5 * 33 - 1), 2 * (5 * 33 - 1))
        # The text of an exported network can be read without this package.
        with safe_open(f"run/epoch-{epoch:03d}.safetensors", framework="numpy") as file:
            assert json.loads(file.metadata()["about"])["settings"]["widths"] == [4]
    # The state just trained draws cars, as pixels.
    assert run("sample --weights run --n 3 --steps 2 --seed 4 --out cars.npy") == 0
    cars = np.load("cars.npy")
    assert (cars.shape, cars.dtype) == ((3, 32, 32, 3), np.uint8)
    assert run("sample --weights run --n 3 --steps 2 --seed 4 --out again.npy") == 0
    np.testing.assert_array_equal(np.load("again.npy"), cars)


def test_the_shipped_network_draws_a_grid_and_no_folder_hides_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("small").mkdir()
    assert run("sample --n 4 --steps 2 --out new-folder/cars.png") == 0
    assert "4 cars are in 'new-folder/cars.png'" in capsys.readouterr().out
    assert Image.open("new-folder/cars.png").size == (2 * (2 * 33 - 1), 2 * (2 * 33 - 1))


def test_a_gif_shows_the_way_from_noise_and_stays_at_its_end(tmp_path):
    network, schedule = load_pretrained(), linear_schedule(3)
    assert run(f"sample --n 4 --steps 3 --seed 5 --out {tmp_path}/way.gif") == 0
    with Image.open(tmp_path / "way.gif") as way:
        frames = [
            (frame.info["duration"], np.asarray(frame.convert("RGB")))
            for frame in ImageSequence.Iterator(way)
        ]
        assert way.info["loop"] == 0, "it does not start again"
    assert [duration for duration, _ in frames] == [100, 100, 100, 2000]
    states = data.denormalize(predict_step(network, 4, schedule, seed=5))
    for (_, frame), state in zip(frames, states, strict=True):
        expected = image_grid(state, scale=2)
        assert frame.shape == expected.shape
        # A GIF has 256 colours.
        assert np.abs(frame.astype(int) - expected).mean() < 20


def test_evaluate_prints_the_table_and_writes_everything(tmp_path, monkeypatch, capsys):
    row = {"pictures": 1000, "frechet distance": 2.0, "kernel distance": 0.001, "interval": [0, 1]}
    row |= dict.fromkeys(("precision", "recall", "density", "coverage"), 0.5)
    found = {"quality": {FLOOR: row}, "copying": {"held-out cars": 0.001}}
    asked = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **b: asked.append((a[1:], b)) or found)
    monkeypatch.chdir(tmp_path)
    assert run("evaluate --n 1000 --seed 3 --out evaluation.json") == 0
    assert asked == [((1000, 3), {"features": "classifier", "against": "held-out"})]
    printed = capsys.readouterr().out
    assert "| real training cars | 1,000 | 2.000 | 1.0 |" in printed
    assert "| held-out cars | 0.10% |" in printed
    written = json.loads(Path("evaluation.json").read_text())
    digest = weights_digest(load_pretrained())
    expected = {"weights": "small", "guide": None, "guidance": None, "network": digest}
    assert written.items() >= {**expected, **found}.items()
    assert "processor" in written["machine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --n 999", "n is 999; expected a whole number from 1000"),
        ("sample --n 4000000000 --out cars.png", "n is 4000000000, which makes"),
        ("sample --weights huge --out cars.png", "there is no network 'huge'; expected one of"),
        (
            "sample --weights small-epoch-005 --guidance 3 --out a.png",
            "small-epoch-005 has no guide",
        ),
        ("sample --weights empty --out cars.png", "empty holds no saved state; train into it"),
        ("sample --weights file --out cars.png", "file is not a whole saved state"),
        ("train --epochs 1 --images 4 --weights-dir run", "batch_size is 64, but there are only 4"),
        ("train --epochs 1 --images 41", "--images is 41; expected a whole number from 1 to 40."),
        (
            "train --epochs 1 --teacher small --data .",
            "a teacher needs no pictures of yours and one device",
        ),
        ("train --epochs 1 --weights-dir file --batch-size 8", "file is a file; expected a folder"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence_and_code_1(
    tiny_run, capsys, arguments, message
):
    Path("empty").mkdir()
    Path("file").touch()
    assert run(arguments) == 1
    error = capsys.readouterr().err
    command = arguments.split()[0]
    assert f"diffusion_core {command}: {message}" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConnectionError("CIFAR-10 is away."), 1, "diffusion_core train: CIFAR-10 is away.\n"),
        (MemoryError("too full."), 1, "diffusion_core train: too full.\n"),
        (MemoryError(), 1, "diffusion_core train: MemoryError()\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_stops_a_run_ends_with_one_message_or_none(
    tiny_run, monkeypatch, capsys, error, code, said
):
    def fail():
        raise error

    monkeypatch.setattr(data, "load_cars", fail)
    assert main([*tiny_run, "--epochs", "1"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: command"),
        ("paint", "invalid choice: 'paint'"),
        ("train", "the following arguments are required: --epochs"),
        ("sample --out a.png --size 3", "unrecognized arguments: --size 3"),
        ("sample --n five", "--n: the value is 'five'; expected a whole number from 1 to 4294967"),
        ("train --save-minutes nan", "--save-minutes: the value is nan; expected a number from 0"),
        ("train --weights-dir=", "--weights-dir: the value is ''; expected a path as text"),
        ("evaluate --out cars.png", "--out: the value is 'cars.png'; expected a file that ends in"),
        ("sample --out folder.png", "ends in .png or .gif or .npy, in a folder that can be"),
        ("evaluate --against train --data photos", "--data: not allowed with argument --against"),
        ("sample --out /", "--out: the value is '/'; expected a file that ends in"),
        ("sample --out file/cars.png", "--out: the value is 'file/cars.png'; expected a file"),
        ("sample --out locked/cars.png", "--out: the value is 'locked/cars.png'; expected a file"),
    ],
)
def test_a_wrong_command_line_ends_with_a_sentence_and_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda folder, mode: folder.name != "locked")
    Path("folder.png").mkdir()
    Path("locked").mkdir()
    Path("file").touch()
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(arguments.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_seed_the_number_of_steps_and_the_rule_reach_the_sampler(monkeypatch, tmp_path):
    asked = []

    def spy(network, n, schedule, seed, sampler):
        asked.append((n, schedule.timesteps, seed, sampler))
        return np.zeros((n, 32, 32, 3), np.float32)

    monkeypatch.setattr(sampling, "predict", spy)
    monkeypatch.chdir(tmp_path)
    assert run("sample --n 7 --steps 32 --seed 9 --sampler heun --out cars.npy") == 0
    assert run("sample --out cars.npy") == 0
    assert asked == [(7, 32, 9, "heun"), (25, 16, 0, "euler")]


def test_guidance_takes_the_guide_that_is_named_or_the_one_that_is_shipped(tmp_path):
    def draw(options):
        assert run(f"sample --n 2 --steps 2 {options} --out {tmp_path}/cars.npy") == 0
        return np.load(tmp_path / "cars.npy")

    by_default = draw("--guidance 3")
    pair = guided(load_pretrained(), load_pretrained(GUIDE), 3)
    schedule = linear_schedule(2)
    np.testing.assert_array_equal(by_default, data.denormalize(predict(pair, 2, schedule)))
    np.testing.assert_array_equal(draw(f"--guide {GUIDE}"), by_default)
    assert not np.array_equal(draw("--guide small-epoch-005 --guidance 3"), by_default)
    np.testing.assert_array_equal(draw("--guidance 1"), draw(""))


def test_a_label_is_drawn_and_told_louder_away_from_any_class_or_from_a_guide(tmp_path):
    def draw(options):
        assert run(f"sample --n 2 --steps 2 {options} --out {tmp_path}/ships.npy") == 0
        return np.load(tmp_path / "ships.npy")

    ten, early = load_pretrained("ten"), load_pretrained(GUIDES["ten"])
    ship, schedule = of_class(ten, "ship"), linear_schedule(2)
    expected = {
        "--label ship": ship,
        "--label ship --guidance 2": guided(ship, of_class(ten, None), 2),
        f"--label ship --guidance 2 --guide {GUIDES['ten']}": guided(
            ship, of_class(early, "ship"), 2
        ),
        "--weights ten": of_class(ten, None),
    }
    for options, network in expected.items():
        drawn = data.denormalize(predict(network, 2, schedule))
        np.testing.assert_array_equal(draw(options), drawn, options)


def test_a_label_that_cannot_be_drawn_or_judged_is_refused(tmp_path, capsys):
    assert run(f"sample --weights small --label ship --out {tmp_path}/a.png") == 1
    assert "small knows no classes; leave out --label" in capsys.readouterr().err
    assert run("evaluate --label ship") == 1
    assert "compared with cars; expected automobile" in capsys.readouterr().err


def test_all_labels_are_learned_and_a_network_that_knew_one_begins_with_that(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(training, "train", lambda *got, **options: asked.append((got, options)))
    pictures, labels = np.zeros((30, 32, 32, 3), np.uint8), np.arange(30) % 10
    monkeypatch.setattr(classes, "load_classes", lambda: (pictures, labels))
    line = f"train --epochs 1 --labels all --images 25 --weights-dir {tmp_path}"
    assert run(f"{line} --start small") == 0
    ((network, images), options), small = asked[0], load_pretrained()
    assert (len(images), options["labels"].tolist()) == (25, labels[:25].tolist())
    np.testing.assert_array_equal(network.get_weights()[-1], small.get_weights()[-1])
    assert network.settings["classes"] == 10
    assert options.get("teacher") is None
    assert run(f"{line} --teacher ten") == 0
    ((pupil, _), options), ten = asked[1], load_pretrained("ten")
    assert weights_digest(pupil) == weights_digest(ten)
    taught_by = guided(ten, of_class(ten, None), within(3, 0.2, 0.8))
    assert weights_digest(options["teacher"]) == weights_digest(taught_by)
    assert options["teacher"].guidance == taught_by.guidance
    assert run(f"{line} --data photos") == 1


def test_the_options_of_train_reach_the_training_and_the_seed_the_first_weights(
    monkeypatch, tiny_run
):
    asked = []

    def spy(network, images, **options):
        asked.append({"images": len(images), "first": network.get_weights()[0], **options})

    monkeypatch.setattr(training, "train", spy)
    line = "train --epochs 3 --batch-size 5 --images 30 --weights-dir w"
    for rest in ("--seed 2", "--seed 2 --save-minutes 2.5", ""):
        assert run(f"{line} {rest}") == 0
    expected = {"images": 30, "epochs": 3, "batch_size": 5, "seed": 2, "weights_dir": Path("w")}
    assert asked[0].items() >= expected.items()
    assert [(each["save_minutes"], each["seed"]) for each in asked] == [(10, 2), (2.5, 2), (10, 0)]
    assert [(each["first"] == asked[0]["first"]).all() for each in asked] == [True, True, False]
    assert run(f"{line} --start small-epoch-005") == 0
    np.testing.assert_array_equal(
        asked[-1]["first"], load_pretrained("small-epoch-005").get_weights()[0]
    )
    assert run(f"{line} --start small-epoch-005x") == 1
    assert len(asked) == 4


def test_a_teacher_is_guided_where_it_has_a_guide_and_its_pupil_begins_as_its_copy(
    monkeypatch, tmp_path
):
    asked = []
    monkeypatch.setattr(jumps, "train_jumps", lambda *networks, **options: asked.append(networks))
    line = f"train --epochs 1 --weights-dir {tmp_path}"
    for rest in ("small", "small-epoch-005", "small --start jumps"):
        assert run(f"{line} --teacher {rest}") == 0
    small, weak, early = map(load_pretrained, ("small", GUIDE, "small-epoch-005"))
    pupils = [small, early, load_pretrained("jumps")]
    teachers = [guided(small, weak, 3), early, guided(small, weak, 3)]
    for (pupil, teacher), begins_as, taught_by in zip(asked, pupils, teachers, strict=True):
        assert pupil.settings["jumps"]
        np.testing.assert_array_equal(pupil.get_weights()[-1], begins_as.get_weights()[-1])
        assert weights_digest(teacher) == weights_digest(taught_by)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 4), (64, 64, 3)])
def test_what_was_trained_on_is_drawn_in_every_form_and_refused_before_it_is_measured(
    tiny_run, capsys, monkeypatch, shape
):
    network = make_model(shape, (4,))
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, *shape)).astype(np.float32)
    training.train(network, pictures, epochs=1, batch_size=8, weights_dir="own")
    height, width, _ = shape
    for ending in ("png", "gif"):
        assert run(f"sample --weights own --n 2 --steps 1 --out two.{ending}") == 0
        with Image.open(f"two.{ending}") as picture:
            assert picture.size == (2 * (2 * width + 1), 2 * height)
    assert run("sample --weights own --n 2 --steps 1 --out two.npy") == 0
    assert np.load("two.npy").shape == (2, *shape)
    monkeypatch.setattr(evaluation, "load_cars", lambda *_: pytest.fail("cars are loaded"))
    capsys.readouterr()
    assert run("evaluate --weights own --n 1000") == 1
    assert f"the model draws {shape}; expected (32, 32, 3)" in capsys.readouterr().err


def test_any_file_of_a_run_can_be_drawn_with(tiny_run):
    assert main([*tiny_run, "--epochs", "1"]) == 0
    for file in sorted(Path("run").glob("*.safetensors")):
        assert run(f"sample --weights {file} --n 1 --steps 1 --out {file.stem}.npy") == 0
        assert np.load(f"{file.stem}.npy").shape == (1, 32, 32, 3)


def test_a_preview_that_fails_costs_a_warning_and_no_epoch(tiny_run, monkeypatch):
    def fail(*_):
        raise ValueError("no picture today")

    monkeypatch.setattr(sampling, "predict", fail)
    with pytest.warns(UserWarning, match=r"Epoch 2 has no preview: ValueError\('no picture today'"):
        assert main([*tiny_run, "--epochs", "2"]) == 0
    assert states.find_latest("run").name == "state-000002-000000004.safetensors"


def test_results_are_written_before_they_are_printed(monkeypatch, tmp_path):
    def fail(found):
        raise OSError("nobody reads this")

    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: {"quality": {}})
    monkeypatch.setattr(tables, "as_table", fail)
    assert run(f"evaluate --out {tmp_path}/found.json") == 1
    assert json.loads((tmp_path / "found.json").read_text())["quality"] == {}


def test_pictures_that_no_png_can_hold_are_refused_before_they_are_drawn(
    tiny, tmp_path, monkeypatch, capsys
):
    states.export(tiny(image_shape=(8, 8, 2)), tmp_path / "two.safetensors")
    monkeypatch.setattr(sampling, "predict", lambda *_: pytest.fail("they are drawn"))
    assert run(f"sample --weights {tmp_path}/two.safetensors --out {tmp_path}/two.png") == 1
    assert "with 1, 3 or 4 channels" in capsys.readouterr().err


def test_a_folder_of_pictures_is_trained_on_and_compared_with(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        Image.new("RGB", (40, 50), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    line = ["train", "--batch-size", "8", "--epochs", "1", "--data", "photos", "--weights-dir"]
    assert main([*line, "large", "--size", "64"]) == 0
    assert load_pretrained("large").input_shape[0] == (None, 64, 64, 3)
    assert main([*line, "run"]) == 0
    assert states.read_about(states.find_latest("run"))["configuration"]["images"] == 8
    asked = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, against, **__: asked.append(against))
    monkeypatch.setattr(tables, "as_table", str)
    assert run("evaluate --weights run --data photos") == 0
    np.testing.assert_array_equal(asked[0], load_folder("photos"))


def test_a_network_that_cannot_be_measured_is_refused_before_a_folder_is_read(
    tiny, tmp_path, monkeypatch, capsys
):
    states.export(tiny(), tmp_path / "small.safetensors")
    monkeypatch.setattr(folders, "load_folder", lambda *_: pytest.fail("it is read"))
    assert run(f"evaluate --weights {tmp_path}/small.safetensors --data photos") == 1
    assert "the model draws (8, 8, 3); expected (32, 32, 3)" in capsys.readouterr().err
