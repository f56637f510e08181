"""Bad input by the thousand: every door of the package answers in one sentence. And good input too.

`BAD_INPUT=long` tries ten thousand bad inputs and a thousand good ones, other ones every time, and
the last test checks how many there were. Without it a few hundred are tried, always the same ones.
"""

import os
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diffusion_core
from diffusion_core import (
    Schedule,
    compile_model,
    cosine_schedule,
    data,
    ddpm_schedule,
    default_weights_dir,
    denormalize,
    draw_batch,
    forward_noise,
    gaussian_noise,
    linear_schedule,
    load_cars,
    load_history,
    load_images,
    load_pretrained,
    make_model,
    normalize,
    predict,
    predict_step,
    sampling,
    train,
    train_one,
)
from diffusion_core.__main__ import main
from diffusion_core.checks import MOST_NUMBERS, brief
from diffusion_core.evaluation import kernel_distance, loss_by_noise_level

LONG = os.environ.get("BAD_INPUT") == "long"
PACKAGE = Path(diffusion_core.__file__).parent
ROOT = Path(__file__).parent.parent
counted = Counter()


def tried(examples):
    """Settings for so many examples in the long run, and a fiftieth of them otherwise."""
    return settings(
        max_examples=examples if LONG else max(2, examples // 50),
        derandomize=not LONG,
        database=None,
        # Far more than any door needs on a busy machine, and less than a computation by mistake.
        deadline=timedelta(seconds=20),
        suppress_health_check=list(HealthCheck),
    )


# --- what people and programs hand over by mistake ----------------------------------------------


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text for you")


class NoArray:
    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array for you")


class NoLength:
    def __len__(self):
        raise RuntimeError("no length for you")


# Hypothesis prints what it draws from, so what cannot be printed is made late.
objects = st.one_of(
    st.sampled_from([Unprintable, NoArray, NoLength, object]).map(lambda make: make()),
    st.sampled_from([int, len, ..., np, Path("x"), b"", {}, set()]),
)
texts = st.one_of(st.text(max_size=20), st.sampled_from(["16", "1.5", "None", "a" * 10**5, "x\ny"]))
ragged = st.sampled_from([[[1.0], [1.0, 2.0]], [1, [2]], [[], [[]]], [None, 1.0], [1.0, "a"]])
containers = st.one_of(
    st.lists(st.integers(), min_size=1, max_size=3),
    st.sets(st.integers(), max_size=3),
    st.tuples(st.floats(), st.text(max_size=3)),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.builds(lambda size: np.arange(size), st.integers(0, 3)),
)
not_numbers = st.one_of(
    st.none(),
    texts,
    st.binary(max_size=4),
    st.booleans(),
    st.booleans().map(np.bool_),
    st.complex_numbers(),
    st.decimals(),
    st.fractions() | st.just(Fraction(1, 3)),
    st.timedeltas(),
    st.integers(0, 99).map(lambda days: np.timedelta64(days, "D")),
    objects,
    ragged,
    containers,
)
floats = st.one_of(st.floats(), st.integers(1, 99).map(float), st.floats(width=32).map(np.float32))
not_whole = not_numbers | floats
gigantic = st.sampled_from([5000, 9999]).map(lambda digits: 10**digits)
huge = (
    st.sampled_from([2**32, 2**63, 2**64, 2**200, -(2**63)]) | gigantic | gigantic.map(lambda n: -n)
)


def outside(least, most=2**32 - 1):
    """Whole numbers below `least` and above `most`, of Python and of NumPy."""
    beyond = st.one_of(st.integers(max_value=least - 1), st.integers(min_value=most + 1), huge)
    return beyond.filter(lambda value: not least <= value <= most).map(_perhaps_numpy)


def _perhaps_numpy(value):
    return np.int64(value) if value % 2 and -(2**63) <= value < 2**63 else value


def bad_whole(least, most=2**32 - 1):
    return not_whole | outside(least, most)


def bad_number(most):
    """What is not a number in [0, most]."""
    numbers = st.one_of(st.floats(), st.integers(), huge, st.sampled_from([np.float32("nan")]))
    return not_numbers | numbers.filter(lambda value: not 0 <= value <= most)


shapes = st.lists(st.integers(0, 3), max_size=5).map(tuple)
wrong_dtypes = st.sampled_from(
    [*"?bBhHiIlLqQedgFDSUOMm", ">f4", [("red", "f4")]]  # every kind that NumPy has
)
wrong_values = st.sampled_from([np.nan, np.inf, -np.inf, 1.0001, -1.0001, 3e38])


def filled(shape, value):
    """Float32 zeros with one other value in them."""
    array = np.zeros(shape, np.float32)
    array.flat[-1] = value
    return array


not_arrays = st.one_of(st.none(), texts, objects, ragged, st.sets(st.integers()), st.integers())
bad_images = st.one_of(
    not_arrays,
    st.builds(np.zeros, shapes, wrong_dtypes),
    st.just([[[[0.5, 0.5, 0.5]]]]),
    shapes.filter(lambda shape: len(shape) != 4 or 0 in shape).map(
        lambda shape: np.zeros(shape, np.float32)
    ),
    st.builds(filled, st.just((2, 8, 8, 3)), wrong_values),
)
bad_dtype_images = not_arrays | st.builds(np.zeros, shapes, wrong_dtypes)
not_schedules = st.one_of(texts, floats, objects, containers, st.booleans(), st.integers())
# In one step, the cosine schedule is linear.
not_linear = st.integers(2, 20).flatmap(
    lambda steps: st.sampled_from([cosine_schedule(steps), ddpm_schedule(steps)])
)
bad_noise = st.one_of(
    not_arrays.filter(lambda value: value is not None),
    st.builds(np.zeros, st.just((2, 8, 8, 3)), st.sampled_from([*"?FDSUOMm"])),
    shapes.filter(lambda shape: shape[1:] != (8, 8, 3)).map(np.zeros),
    st.builds(filled, st.just((2, 8, 8, 3)), st.sampled_from([np.nan, np.inf, -np.inf])),
    st.just(np.full((2, 8, 8, 3), 1e300)),
    st.just(np.zeros((0, 8, 8, 3))),
)
bad_paths = st.one_of(
    st.sampled_from(["", "a\0b", b"weights", b"\xff", 0, 1.5, True, False, ["weights"], {}]),
    st.integers() | gigantic,
    st.binary(max_size=5),
    st.text(max_size=5).map(lambda text: f"{text}\0"),
    objects.filter(lambda value: not isinstance(value, Path)),
)
not_names = st.one_of(texts, not_whole, st.sampled_from(["Small", "small ", "../small", "small\0"]))


def bad_levels():
    """Arrays that are no noise levels of two steps, beside a good signal [0, 0.5, 1]."""
    numbers = st.one_of(st.floats(), st.floats(-0.5, 1.5), st.integers(-3, 3))
    lists = st.lists(numbers, max_size=5).filter(lambda levels: not _good_noise(levels))
    return st.one_of(not_arrays, lists, lists.map(np.array), st.just([True, True, False]))


def _good_noise(levels):
    return len(levels) == 3 and 1 >= levels[0] > levels[1] > levels[2] >= 0


bad_shapes = st.one_of(
    not_whole.filter(lambda value: not isinstance(value, (tuple, list))),
    st.lists(not_whole, min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(max_value=0), min_size=1, max_size=3).map(tuple),
    st.sampled_from([(2**40,), (2**20, 2**20, 3), (MOST_NUMBERS + 1,)]),
    gigantic.map(lambda side: (side,)),
)
bad_image_shapes = st.one_of(
    bad_shapes,
    st.lists(st.integers(1, 64), max_size=5).filter(lambda shape: len(shape) != 3),
    st.tuples(st.integers(1, 99).map(lambda half: 2 * half + 1), st.just(8), st.just(3)),
    st.tuples(st.just(8), st.just(8), st.integers(max_value=0) | st.integers(4097)),
)
bad_widths = st.one_of(
    not_whole.filter(lambda value: not isinstance(value, (tuple, list))),
    st.lists(not_whole, min_size=1, max_size=3),
    st.lists(st.integers(max_value=0), max_size=3).map(tuple),
    st.lists(st.integers(4097) | huge, min_size=1, max_size=3),
    st.lists(st.integers(1, 9), min_size=4, max_size=60),
)


# --- the doors ----------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
HALF = linear_schedule(2)


class Networks:
    """Built at the first use, since that takes seconds."""

    def __getattr__(self, name):
        keras.utils.set_random_seed(0)
        self.tiny, self.ready = (make_model((8, 8, 3), (4,)) for _ in range(2))
        compile_model(self.ready, 10)
        return self.__dict__[name]


networks = Networks()
image_input = keras.Input((8, 8, 3))
not_models = st.one_of(
    not_whole,
    st.integers(),
    st.sampled_from([make_model, keras.Model, keras.layers.Dense(1)]),
    st.just(Path("weights")),
)
other_models = st.sampled_from(
    [
        keras.Sequential(),
        keras.Sequential([keras.layers.Dense(1)]),
        keras.Model(image_input, keras.layers.Flatten()(image_input)),
    ]
)


def not_called(*args):
    raise AssertionError("training began")


def run_train(**options):
    return train(
        **{
            "model": networks.tiny,
            "images": IMAGES,
            "epochs": 1,
            "batch_size": 2,
            "callback": not_called,
            **options,
        }
    )


def sources_of_one_label(label, split="train", source="stand-in"):
    return load_images(label, split, source)


no_label = st.one_of(texts, not_whole, outside(0, 9)).filter(
    lambda value: not isinstance(value, str) or value not in data.LABELS
)
no_split = st.one_of(texts, not_whole, st.integers())
no_rate = bad_number(1000)
no_loss = st.one_of(
    texts, st.none(), st.integers(), st.floats(), st.booleans(), st.binary(max_size=3)
)
no_step = st.one_of(
    not_whole.filter(lambda value: not isinstance(value, (list, np.ndarray))),
    outside(0, 15),
    st.lists(outside(0, 15), min_size=2, max_size=2),
    st.lists(st.integers(0, 15), max_size=5).filter(lambda steps: len(steps) != 2),
    st.lists(st.integers(0, 15), max_size=5).filter(lambda s: len(s) != 2).map(np.array),
    st.sampled_from([[True, False], [[0, 0]], [0.0, 1.0], np.zeros((2, 1), int)]),
).filter(lambda value: np.shape(value) != (2,) if isinstance(value, np.ndarray) else True)

# One bad argument each, beside good ones.
DOORS = {
    "Schedule(noise)": (lambda bad: Schedule([0, 0.5, 1], bad), bad_levels()),
    "Schedule(signal)": (
        lambda bad: Schedule(bad, [1, 0.5, 0]),
        bad_levels().filter(lambda bad: not _good_signal(bad)),
    ),
    "linear_schedule(timesteps)": (linear_schedule, bad_whole(1, 10_000)),
    "cosine_schedule(timesteps)": (cosine_schedule, bad_whole(1, 10_000)),
    "ddpm_schedule(timesteps)": (ddpm_schedule, bad_whole(1, 1000)),
    "normalize(images)": (
        normalize,
        bad_dtype_images.filter(lambda bad: getattr(bad, "dtype", None) != np.uint8),
    ),
    "denormalize(images)": (
        denormalize,
        st.one_of(
            not_arrays,
            st.builds(np.zeros, shapes, st.sampled_from([*"?bBhHiIlLqQFDSUOMm"])),
            st.builds(filled, st.just((2, 3)), st.sampled_from([np.nan, np.inf, -np.inf])),
            st.lists(st.sampled_from([np.nan, np.inf]), min_size=1, max_size=3),
        ),
    ),
    "load_images(label)": (sources_of_one_label, no_label),
    "load_images(split)": (lambda bad: load_images(1, bad, "stand-in"), no_split),
    "load_images(source)": (lambda bad: load_images(1, source=bad), bad_paths),
    "load_cars(split)": (lambda bad: load_cars(bad, "stand-in"), no_split),
    "load_cars(source)": (lambda bad: load_cars(source=bad), bad_paths),
    "load_cars(source, a path)": (
        lambda bad: load_cars(source=bad),
        st.one_of(
            st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=300),
            st.just(__file__),
            st.just(Path(__file__).parent),
        ).filter(lambda bad: bad != "stand-in"),
    ),
    "load_pretrained(name)": (load_pretrained, not_names),
    "load_history(name)": (load_history, not_names),
    "gaussian_noise(n)": (lambda bad: gaussian_noise(bad, (1,)), bad_whole(1, MOST_NUMBERS)),
    "gaussian_noise(image_shape)": (lambda bad: gaussian_noise(1, bad), bad_shapes),
    "gaussian_noise(seed)": (lambda bad: gaussian_noise(1, (1,), bad), bad_whole(0)),
    "gaussian_noise(first)": (lambda bad: gaussian_noise(1, (1,), 0, bad), bad_whole(0)),
    "forward_noise(images)": (lambda bad: forward_noise(bad, 0), bad_images),
    "forward_noise(t)": (lambda bad: forward_noise(IMAGES, bad), no_step),
    "forward_noise(schedule)": (lambda bad: forward_noise(IMAGES, 0, bad), not_schedules),
    "forward_noise(seed)": (lambda bad: forward_noise(IMAGES, 0, seed=bad), bad_whole(0)),
    "forward_noise(noise)": (lambda bad: forward_noise(IMAGES, 0, noise=bad), bad_noise),
    "make_model(image_shape)": (lambda bad: make_model(bad, (4,)), bad_image_shapes),
    "make_model(widths)": (lambda bad: make_model((8, 8, 3), bad), bad_widths),
    "make_model(blocks)": (lambda bad: make_model((8, 8, 3), (4,), bad), bad_whole(1, 100)),
    "make_model(residual)": (
        lambda bad: make_model((8, 8, 3), (4,), 1, bad),
        (not_whole | st.integers()).filter(lambda bad: not isinstance(bad, (bool, np.bool_))),
    ),
    "compile_model(model)": (lambda bad: compile_model(bad, 10), not_models | other_models),
    "compile_model(total_steps)": (
        lambda bad: compile_model(networks.tiny, bad),
        bad_whole(1, 2**31 - 1),
    ),
    "compile_model(learning_rate)": (lambda bad: compile_model(networks.tiny, 10, bad), no_rate),
    "compile_model(loss)": (lambda bad: compile_model(networks.tiny, 10, 1e-3, bad), no_loss),
    "draw_batch(images)": (lambda bad: draw_batch(bad, HALF, 0, 0), bad_images),
    "draw_batch(schedule)": (lambda bad: draw_batch(IMAGES, bad, 0, 0), not_schedules),
    "draw_batch(seed)": (lambda bad: draw_batch(IMAGES, HALF, bad, 0), bad_whole(0)),
    "draw_batch(step)": (lambda bad: draw_batch(IMAGES, HALF, 0, bad), bad_whole(0)),
    "train_one(model)": (lambda bad: train_one(bad, IMAGES), not_models | other_models),
    "train_one(images)": (lambda bad: train_one(networks.ready, bad), bad_images),
    "train_one(schedule)": (
        lambda bad: train_one(networks.ready, IMAGES, bad),
        not_schedules | not_linear,
    ),
    "train_one(seed)": (lambda bad: train_one(networks.ready, IMAGES, None, bad), bad_whole(0)),
    "train(model)": (lambda bad: run_train(model=bad), not_models | other_models),
    "train(images)": (lambda bad: run_train(images=bad), bad_images),
    "train(epochs)": (lambda bad: run_train(epochs=bad), bad_whole(1, 2**31 - 1)),
    "train(batch_size)": (lambda bad: run_train(batch_size=bad), bad_whole(1, 2)),
    "train(learning_rate)": (lambda bad: run_train(learning_rate=bad), no_rate),
    "train(loss)": (lambda bad: run_train(loss=bad), no_loss),
    "train(schedule)": (lambda bad: run_train(schedule=bad), not_schedules | not_linear),
    "train(seed)": (lambda bad: run_train(seed=bad), bad_whole(0)),
    "train(weights_dir)": (lambda bad: run_train(weights_dir=bad), bad_paths),
    "train(save_minutes)": (lambda bad: run_train(save_minutes=bad), bad_number(366 * 24 * 60)),
    "train(callback)": (
        lambda bad: run_train(callback=bad),
        (not_whole | st.integers()).filter(lambda bad: bad is not None and not callable(bad)),
    ),
    "train(callback_every)": (lambda bad: run_train(callback_every=bad), bad_whole(1)),
    "kernel_distance(draws)": (
        lambda bad: kernel_distance(np.eye(2), np.eye(2), bad),
        bad_whole(1, 100_000),
    ),
    "kernel_distance(seed)": (
        lambda bad: kernel_distance(np.eye(2), np.eye(2), 1, bad),
        bad_whole(0),
    ),
    "loss_by_noise_level(model)": (
        lambda bad: loss_by_noise_level(bad, IMAGES),
        not_models | other_models,
    ),
    "loss_by_noise_level(images)": (
        lambda bad: loss_by_noise_level(networks.tiny, bad),
        bad_images,
    ),
    **{
        f"{draw.__name__}({name})": (
            lambda bad, draw=draw, name=name: draw(
                **{"model": networks.tiny, "n": 1, "schedule": HALF, name: bad}
            ),
            bad,
        )
        for draw in (predict, predict_step)
        for name, bad in {
            "model": not_models | other_models,
            "n": not_whole | outside(1, 2**29),
            "schedule": not_schedules | not_linear,
            "seed": bad_whole(0),
            "noise": bad_noise,
        }.items()
    },
}


def _good_signal(levels):
    try:
        signal = np.asarray(levels)
        return (
            signal.shape == (3,)
            and (np.diff(signal) >= 0).all()
            and 0 <= signal[0] <= signal[2] <= 1
        )
    except Exception:
        return False


def check_sentence(error):
    """One sentence of ours, and not one of a library that was let through the door."""
    text = str(error)
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    assert Path(where).parent == PACKAGE, f"{where}: {type(error).__name__}: {text}"
    assert "\n" not in text, text
    assert 20 < len(text) < 600, text
    assert "expected" in text or "needs" in text or "give at most" in text, text


@pytest.mark.parametrize("door", DOORS)
@tried(250)
@given(chosen=st.data())
def test_a_bad_argument_ends_in_one_sentence(door, chosen):
    call, strategy = DOORS[door]
    bad = chosen.draw(strategy)
    counted["bad"] += 1
    counted[door] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            answer = call(bad)
        except (TypeError, ValueError, FileNotFoundError) as error:
            check_sentence(error)
        else:
            pytest.fail(f"{door} took {brief(bad)} and returned {brief(answer)}")


# --- the terminal -------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
number_words = st.one_of(
    words,
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", " 5", "5 ", "+5", "1_000", "0x10", "1e3", "٣.٥", "²", "nan", "9" * 5000]),
)


def no_whole_word(least, most=2**32 - 1):
    return number_words.filter(
        lambda word: not (word.isdecimal() and len(word) <= 10 and least <= int(word) <= most)
    )


no_minutes = number_words.filter(lambda word: not word.replace(".", "", 1).isdecimal()) | (
    st.sampled_from(["-1", "inf", "1e9", ".", "1.", ".5", "527041", "999999.9"])
)
no_network = words.filter(lambda word: not word.startswith("small")) | st.sampled_from(
    ["small-epoch-0", "empty", "file", ".", "a" * 5000, "a\nb"]
)
no_picture = words.filter(lambda word: Path(word).suffix not in (".png", ".npy")) | st.sampled_from(
    [
        "",
        ".png",
        "folder.png",
        "file/cars.png",
        "file/a/cars.npy",
        "cars.PNG",
        "a\0.png",
    ]
)
no_table = words.filter(lambda word: Path(word).suffix != ".json") | st.sampled_from(
    ["", ".json", "file/found.json", "found.json.gz"]
)

# A good line, the option that is spoilt, what spoils it, and the exit codes.
OPTIONS = {
    "train --epochs": ("train", no_whole_word(1)),
    "train --batch-size": ("train --epochs=1", no_whole_word(1, 40)),
    "train --seed": ("train --epochs=1", no_whole_word(0)),
    "train --images": ("train --epochs=1", no_whole_word(64)),
    "train --save-minutes": ("train --epochs=1", no_minutes),
    "train --weights-dir": (
        "train --epochs=1 --batch-size=8",
        st.sampled_from(["", "file", "file/below", "\0", "folder.png/../file"]),
    ),
    "sample --n": ("sample --out=cars.png", no_whole_word(1, 174_762)),
    "sample --steps": ("sample --out=cars.png", no_whole_word(1, 10_000)),
    "sample --seed": ("sample --out=cars.png", no_whole_word(0)),
    "sample --weights": ("sample --out=cars.png", no_network),
    "sample --out": ("sample", no_picture),
    "evaluate --n": ("evaluate", no_whole_word(1000, 20_000)),
    "evaluate --seed": ("evaluate", no_whole_word(0)),
    "evaluate --weights": ("evaluate", no_network),
    "evaluate --out": ("evaluate", no_table),
    "evaluate --features": (
        "evaluate",
        words.filter(lambda w: w not in ("classifier", "inception")),
    ),
    "an unknown option": ("sample --out=cars.png", words.map(lambda word: f"-{word}")),
    "an unknown command": ("", words.filter(lambda w: not w.startswith("-"))),
}


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    """A folder with a file, cars without a source, and no network that draws or trains."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty").mkdir()
    cars = np.zeros((40, 32, 32, 3), np.uint8)
    monkeypatch.setattr(data, "load_cars", lambda *split: cars)
    monkeypatch.setattr("diffusion_core.evaluation.load_cars", lambda *split: cars)
    monkeypatch.setattr("diffusion_core.evaluation.load_images", lambda *split: cars)
    small = make_model(widths=(4,))
    monkeypatch.setattr("diffusion_core.model.make_model", lambda: small)
    monkeypatch.setattr("keras.Model.predict_on_batch", not_called)
    monkeypatch.setattr("diffusion_core.training.train_one", not_called)


@pytest.mark.parametrize("option", OPTIONS)
@tried(200)
@given(chosen=st.data())
def test_a_bad_option_ends_in_one_sentence_and_no_traceback(option, terminal, capsys, chosen):
    line, strategy = OPTIONS[option]
    bad = chosen.draw(strategy)
    counted["bad"] += 1
    counted[option] += 1
    name = option.split()[-1]
    arguments = [*line.split(), f"{name}={bad}" if name.startswith("--") else bad]
    capsys.readouterr()
    before = sorted(Path().rglob("*"))
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    output, error = capsys.readouterr()
    if bad in ("-h", "--help"[: len(bad)]) and len(bad) > 1:
        assert code == 0
        return
    assert code in (1, 2), output
    assert "Traceback" not in error
    last = error.removesuffix("\n").split("\n")[-1] if code == 1 else error
    assert len(error) < 1500 + 3 * len(bad)
    if code == 1:
        assert error == f"{last}\n", error
        assert last.startswith(f"diffusion_core {line.split()[0]}: ")
        assert "expected" in last or "at most" in last or "train into it" in last
    else:
        assert "usage: " in error
        assert "error: " in error
    assert [path for path in sorted(Path().rglob("*")) if path not in before] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["sample", "--n", "five", "--out", "a.png"], 2), (["sample", "--out", b"\xff.jpg"], 1)],
)
def test_a_real_process_ends_as_the_function_does(tmp_path, arguments, code):
    result = subprocess.run(
        [sys.executable, "-m", "diffusion_core", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert b"Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- good input ---------------------------------------------------------------------------------

pixels = st.builds(
    lambda shape, seed: np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8),
    shapes,
    st.integers(0, 2**32),
)
seeds = st.integers(0, 2**32 - 1).flatmap(lambda n: st.sampled_from([n, np.uint32(n), np.int64(n)]))
small_integers = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.uint64, int])


@tried(250)
@given(images=pixels)
def test_pixels_survive_the_way_there_and_back(images):
    counted["good"] += 1
    values = normalize(images)
    assert values.dtype == np.float32
    assert values.shape == images.shape
    assert ((values >= -1) & (values <= 1)).all()
    back = denormalize(values)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, images)


@tried(250)
@given(value=st.floats(allow_nan=False, allow_infinity=False), dtype=st.sampled_from("efdg"))
def test_every_finite_float_becomes_the_nearest_pixel(value, dtype):
    counted["good"] += 1
    with np.errstate(over="ignore"):
        array = np.array(value).astype(dtype)
    array = np.nan_to_num(array)  # what is too large for this dtype becomes its largest number
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixel = denormalize(array)
    assert pixel.dtype == np.uint8
    assert abs(pixel - min(max((float(array) + 1) * 127.5, 0), 255)) <= (
        0.6 if dtype == "e" else 0.501
    )


@tried(200)
@given(steps=st.integers(1, 1000), kind=st.sampled_from([int, np.int16, np.uint64, np.uint8]))
def test_schedules_run_from_noise_to_clean(steps, kind):
    counted["good"] += 1
    steps = min(steps, 255) if kind is np.uint8 else steps
    for make in (linear_schedule, cosine_schedule, ddpm_schedule):
        schedule = make(kind(steps))
        assert schedule.timesteps == steps
        assert schedule.signal.dtype == schedule.noise.dtype == np.float64
        assert schedule.signal.shape == schedule.noise.shape == (steps + 1,)
        assert (np.diff(schedule.noise) < 0).all()
        assert (np.diff(schedule.signal) > 0).all()
        power = 1 if make is linear_schedule else 2
        np.testing.assert_allclose(schedule.signal**power + schedule.noise**power, 1, atol=1e-12)
        assert schedule.signal_to_noise.shape == (steps + 1,)


unit = st.floats(0, 1)


@tried(150)
@given(noise=st.lists(unit, min_size=2, max_size=9, unique=True), signal=st.data())
def test_every_falling_noise_with_a_rising_signal_is_a_schedule(noise, signal):
    counted["good"] += 1
    noise = sorted(noise, reverse=True)
    rising = sorted(signal.draw(st.lists(unit, min_size=len(noise), max_size=len(noise))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = Schedule(rising, noise)
        ratio = schedule.signal_to_noise
    np.testing.assert_array_equal(schedule.signal, rising)
    np.testing.assert_array_equal(schedule.noise, noise)
    assert ratio.shape == (len(noise),)


@tried(250)
@given(
    n=st.integers(1, 9),
    first=st.integers(0, 2**32 - 10),
    seed=seeds,
    shape=st.lists(st.integers(1, 4), max_size=4).map(tuple),
    kind=small_integers,
)
def test_noise_depends_on_seed_and_number_alone(n, first, seed, shape, kind):
    counted["good"] += 1
    noise = gaussian_noise(kind(n), shape, seed, first)
    assert noise.dtype == np.float32
    assert noise.shape == (n, *shape)
    assert np.isfinite(noise).all()
    last = gaussian_noise(1, list(shape), int(seed), np.int64(first + n - 1))
    np.testing.assert_array_equal(noise[-1:], last)


@tried(250)
@given(chosen=st.data(), n=st.integers(1, 4), seed=seeds, steps=st.integers(1, 300))
def test_forward_noise_equals_its_closed_form(chosen, n, seed, steps):
    counted["good"] += 1
    kind = chosen.draw(small_integers)
    most = steps - 1 if kind is int else min(steps - 1, np.iinfo(kind).max)
    t = chosen.draw(st.integers(0, most) | st.lists(st.integers(0, most), min_size=n, max_size=n))
    make = chosen.draw(st.sampled_from([linear_schedule, cosine_schedule, ddpm_schedule]))
    schedule = make(steps)
    images = np.random.default_rng(int(seed)).uniform(-1, 1, (n, 2, 3, 1)).astype(np.float32)
    epsilon = gaussian_noise(n, (2, 3, 1), seed).astype(np.float64)
    answer = forward_noise(images, np.array(t, kind), schedule, seed=seed)
    for x, step in zip(answer, (np.array(t), np.array(t) + 1), strict=True):
        assert x.dtype == np.float32
        signal, noise = (
            levels[np.broadcast_to(step, n)].reshape(n, 1, 1, 1)
            for levels in (schedule.signal, schedule.noise)
        )
        np.testing.assert_allclose(x, signal * images + noise * epsilon, rtol=0, atol=2e-6)


@tried(150)
@given(n=st.integers(1, 4), seed=seeds, step=st.integers(0, 2**32 - 1), steps=st.integers(1, 40))
def test_a_training_question_and_its_answer_differ_by_one_step(n, seed, step, steps):
    counted["good"] += 1
    images = np.random.default_rng(step).uniform(-1, 1, (n, 2, 4, 3)).astype(np.float32)
    schedule = linear_schedule(steps)
    (x_t, level, next_level), x_next = draw_batch(images, schedule, seed, step)
    assert {array.dtype for array in (x_t, level, next_level, x_next)} == {np.dtype(np.float32)}
    assert x_t.shape == x_next.shape == images.shape
    assert level.shape == next_level.shape == (n, 1)
    np.testing.assert_allclose(level - next_level, 1 / steps, atol=1e-6)
    # x_next - x_t = (x0 - epsilon) / steps, so both lead to the same clean image, mirrored or not.
    level = level.reshape(n, 1, 1, 1)
    clean = x_t + steps * level * (x_next - x_t)
    error = np.minimum(
        np.abs(clean - images).max((1, 2, 3)), np.abs(clean - images[:, :, ::-1]).max((1, 2, 3))
    )
    assert error.max() < 1e-4 * steps
    again, _ = draw_batch(images, schedule, int(seed), np.int64(step))
    np.testing.assert_array_equal(again[0], x_t)


@tried(100)
@given(
    label=st.sampled_from([1, np.int8(1), "automobile", np.str_("automobile")]),
    split=st.sampled_from(["train", "test"]),
)
def test_the_stand_in_has_the_documented_form(label, split):
    counted["good"] += 1
    cars = load_images(label, split, "stand-in")
    assert cars.dtype == np.uint8
    assert cars.shape[1:] == (32, 32, 3)
    np.testing.assert_array_equal(cars, load_cars(split, "stand-in"))


@tried(50)
@given(
    sizes=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    width=st.integers(1, 5),
    residual=st.booleans(),
    kind=small_integers,
)
def test_a_network_takes_and_returns_its_image_shape(sizes, sides, width, residual, kind):
    counted["good"] += 1
    shape = (sides[0] * 2**sizes, sides[1] * 2**sizes, sides[2])
    network = make_model(tuple(map(kind, shape)), [kind(width)] * sizes, kind(1), residual)
    assert network.output_shape == (None, *shape)
    assert network.settings == {
        "image_shape": shape,
        "widths": (width,) * sizes,
        "blocks": 1,
        "residual": residual,
    }


@tried(50)
@given(n=st.integers(1, 7), size=st.integers(1, 8), seed=seeds)
def test_the_same_pictures_whatever_the_batch_size(no_xla, n, size, seed):
    counted["good"] += 1
    with no_xla(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BATCH_SIZE", size)
        pictures = predict(networks.tiny, np.uint8(n), HALF, seed)
        states = predict_step(
            networks.tiny, noise=gaussian_noise(n, (8, 8, 3), seed), schedule=HALF
        )
    assert pictures.dtype == states.dtype == np.float32
    assert pictures.shape == (n, 8, 8, 3)
    assert states.shape == (3, n, 8, 8, 3)
    np.testing.assert_allclose(states[-1], pictures, rtol=0, atol=1e-5)
    with no_xla():
        first = predict(networks.tiny, 1, HALF, int(seed))
    np.testing.assert_allclose(pictures[:1], first, rtol=0, atol=1e-5)


def test_a_run_may_be_described_with_the_numbers_of_numpy(monkeypatch, tmp_path):
    """They are written into the state as text, where only Python's own numbers have a place."""
    monkeypatch.setattr("diffusion_core.training.train_one", lambda *batch: 0.0)
    for epochs in (np.int8(1), np.uint64(2)):
        history = run_train(
            model=make_model((8, 8, 3), (4,)),
            epochs=epochs,
            batch_size=np.uint8(2),
            seed=np.int64(3),
            learning_rate=np.float32(1e-3),
            weights_dir=tmp_path,
            callback=None,
        )
    assert history["epoch"] == [1, 2]


def test_weights_lie_in_a_folder():
    assert isinstance(default_weights_dir(), Path)


# --- how many there were ------------------------------------------------------------------------


def test_every_public_function_has_its_doors_tried():
    tried_names = {door.split("(")[0] for door in DOORS}
    assert tried_names >= set(diffusion_core.__all__) - {"default_weights_dir"}


def test_as_many_were_tried_as_promised(capsys):
    with capsys.disabled():
        print(f"\nbad inputs: {counted['bad']:,}; good inputs: {counted['good']:,}")
    if {*DOORS, *OPTIONS} - counted.keys() or not counted["good"]:
        pytest.skip("only a part of this file was run")
    assert counted["bad"] >= (10_000 if LONG else 200)
    assert counted["good"] >= (1_000 if LONG else 20)
