"""Bad input by the thousand: every door of the package answers in one sentence. And good input too.

The doors and the kinds of their arguments come from `checks.DOORS`; each kind has one strategy of
bad values here. `BAD_INPUT=long` tries ten thousand bad inputs and a thousand good ones, other ones
every time; without it a few hundred are tried, always the same. The last test counts them.
"""

import functools
import inspect
import os
import pkgutil
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diffusion_core as core
from diffusion_core import checks, data, evaluation, forward, model, sampling, schedule
from diffusion_core.__main__ import main
from diffusion_core.checks import DOORS, MOST_NUMBERS
from diffusion_core.runs import guards
from diffusion_core.sources import cifar10, features, measures

for module in pkgutil.walk_packages(core.__path__, "diffusion_core."):
    import_module(module.name)  # so that its doors are known

LONG = os.environ.get("BAD_INPUT") == "long"
PACKAGE = Path(core.__file__).parent
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


def loud():
    """Make a `with` block in which a warning is an error."""
    return warnings.catch_warnings(action="error")


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
objects = st.sampled_from([Unprintable, NoArray, NoLength, object]).map(lambda make: make())
objects |= st.sampled_from([int, len, ..., np, Path("x"), b"", {}, set()])
texts = st.text(max_size=20) | st.sampled_from(["16", "1.5", "None", "a" * 10**5, "x\ny"])
ragged = st.sampled_from([[[1.0], [1.0, 2.0]], [1, [2]], [[], [[]]], [None, 1.0], [1.0, "a"]])
containers = st.one_of(
    st.lists(st.integers(), min_size=1, max_size=3),
    st.sets(st.integers(), max_size=3),
    st.tuples(st.floats(), st.text(max_size=3)),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.integers(0, 3).map(np.arange),
)
others = st.one_of(  # neither numbers nor None
    texts,
    st.binary(max_size=4),
    st.booleans() | st.booleans().map(np.bool_),
    st.complex_numbers() | st.decimals() | st.fractions(),
    st.timedeltas() | st.integers(0, 99).map(lambda days: np.timedelta64(days, "D")),
    objects | ragged | containers,
)
floats = st.floats() | st.integers(1, 99).map(float) | st.floats(width=32).map(np.float32)
not_whole = st.none() | others | floats
gigantic = st.sampled_from([5000, 9999]).map(lambda digits: 10**digits)
huge = st.sampled_from([2**32, 2**63, 2**64, 2**200, -(2**63)])
huge |= gigantic | gigantic.map(lambda n: -n)


def outside(least, most):
    """Whole numbers below `least` and above `most`, of Python and of NumPy."""
    beyond = st.integers(max_value=least - 1) | st.integers(min_value=most + 1) | huge
    return beyond.filter(lambda value: not least <= value <= most).map(
        lambda value: np.int64(value) if value % 2 and -(2**63) <= value < 2**63 else value
    )


def bad_number(most):
    numbers = st.floats() | st.integers() | huge | st.just(np.float32("nan"))
    return st.none() | others | numbers.filter(lambda value: not 0 <= value <= most)


def filled(shape, *values):
    """Float32 zeros with one other value in them."""

    def fill(value):
        array = np.zeros(shape, np.float32)
        array.flat[-1] = value
        return array

    return st.sampled_from(values).map(fill)


shapes = st.lists(st.integers(0, 3), max_size=5).map(tuple)


def of_types(types):
    """Zeros of any small shape and of these dtypes, `*"?bBhHiIlLqQefdgFDSUOMm"` being all."""
    return st.builds(np.zeros, shapes, st.sampled_from([*types]))


infinite = (np.nan, np.inf, -np.inf)
not_arrays = st.one_of(texts, objects, ragged, st.sets(st.integers()), st.integers())
not_schedules = st.one_of(texts, floats, objects, containers, st.booleans(), st.integers())
# In one step, the cosine schedule is linear.
not_linear = st.integers(2, 20).flatmap(
    lambda steps: st.sampled_from([core.cosine_schedule(steps), core.ddpm_schedule(steps)])
)
some_input = keras.Input((8, 8, 3))
not_models = [core.make_model, keras.Model, keras.layers.Dense(1), SimpleNamespace(inputs=3)]
not_models += [keras.Sequential(), keras.Sequential([keras.layers.Dense(1)])]
not_models += [keras.Model(some_input, keras.layers.Flatten()(some_input))]
few = st.lists(st.integers(0, 15), max_size=5).filter(lambda steps: len(steps) != 2)
bad_names = texts | not_whole | st.integers()

# What each kind refuses.
KINDS = {
    checks.SHAPE: st.one_of(
        not_whole.filter(lambda value: not isinstance(value, (tuple, list))),
        st.lists(not_whole, min_size=1, max_size=3).map(tuple),
        st.lists(st.integers(max_value=0) | gigantic, min_size=1, max_size=3).map(tuple),
    ),
    checks.IMAGES: st.one_of(
        st.none() | not_arrays | of_types("?bBhHiIlLqQedgFDSUOMm"),
        st.sampled_from([">f4", [("red", "f4")]]).map(lambda dtype: np.zeros((2, 8, 8, 3), dtype)),
        st.sampled_from([(), (8, 8, 3), (0, 8, 8, 3), (2, 8, 0, 3)]).map(
            lambda shape: np.zeros(shape, "f4")
        ),
        filled((2, 8, 8, 3), *infinite, 1.0001, -1.0001, 3e38),
    ),
    checks.NOISE: st.one_of(
        not_arrays | of_types("?FDSUOMm") | filled((2, 8, 8, 3), *infinite),
        shapes.filter(lambda shape: shape[1:] != (8, 8, 3)).map(np.zeros),
        st.sampled_from([np.full((2, 8, 8, 3), 1e300), np.zeros((0, 8, 8, 3))]),
    ),
    checks.NETWORK: not_whole | st.integers() | st.sampled_from(not_models),
    checks.PATH: st.one_of(
        st.sampled_from(["", "a\0b", b"weights", b"\xff", True, False, ["weights"]]),
        st.integers() | gigantic | floats | st.text(max_size=5).map(lambda text: f"{text}\0"),
        objects.filter(lambda value: not isinstance(value, Path)),
    ),
    checks.CALLBACK: (others | floats | st.integers()).filter(lambda bad: not callable(bad)),
    schedule.SCHEDULE: not_schedules,
    schedule.LINEAR: not_schedules | not_linear,
    forward.STEPS: st.one_of(
        not_whole.filter(lambda value: not isinstance(value, (list, np.ndarray))),
        outside(0, 15) | st.lists(outside(0, 15), min_size=2, max_size=2),
        few | few.map(np.array),
        st.sampled_from([[True, False], [[0, 0]], [0.0, 1.0], np.zeros((2, 1), int)]),
    ),
    model.YES_OR_NO: (not_whole | st.integers() | huge).filter(
        lambda value: not isinstance(value, (bool, np.bool_))
    ),
    data.LABEL: (texts | not_whole | outside(0, 9)).filter(
        lambda value: not isinstance(value, str) or value not in cifar10.LABELS
    ),
    data.SPLIT: bad_names,
    data.PIXELS: st.none() | not_arrays | of_types("?bhHiIlLqQefdgFDSUOMm"),
    data.FLOATS: st.one_of(
        st.none() | not_arrays | of_types("?bBhHiIlLqQFDSUOMm") | filled((2, 3), *infinite),
        st.lists(st.sampled_from(infinite), min_size=1, max_size=3),
    ),
    guards.RATE: bad_number(1000),
    guards.LOSS: st.one_of(st.none(), texts, floats, st.integers(), st.booleans(), st.binary()),
    features.PIXELS: not_arrays | of_types("?bhHiIlLqQefdgFDSUOMm") | shapes.map(np.zeros),
    measures.ROWS: st.one_of(
        not_arrays | filled((60, 60), *infinite),
        shapes.filter(lambda shape: len(shape) != 2).map(np.zeros),
        st.sampled_from([*"FDSUOMm"]).map(lambda dtype: np.zeros((60, 60), dtype)),
    ),
    evaluation._known: bad_names,
    DOORS["diffusion_core.runs.devices.spread"][1]["count"]: others | floats | outside(1, 99),
}


def strategy_of(kind):
    """The bad values of a kind; `whole` and `number` make one kind for each range."""
    maker = kind.__qualname__.split(".")[0]
    limits = inspect.getclosurevars(kind).nonlocals
    if maker == "whole":
        return not_whole | outside(**limits)
    return bad_number(**limits) if maker == "number" else KINDS[kind]


# --- the doors ----------------------------------------------------------------------------------

CARS = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
HALF = core.linear_schedule(2)


@functools.cache
def network_for(name):
    """The network that a function takes: of 8×8 pictures, and where it trains a compiled one."""
    network = core.make_model((32, 32, 3) if name == "evaluate" else (8, 8, 3), (4,))
    if name == "train_one":
        core.compile_model(network, 10)
    return network


def not_called(*args, **options):
    raise AssertionError("training or drawing began")


clouds = {"features": np.eye(60), "reference": np.eye(60)}
pictures = {"images": np.zeros((2, 32, 32, 3), np.uint8)}
# What each function takes, beside its defaults and, where it takes one, a network.
GOOD = {
    "Schedule": {"signal": [0, 0.5, 1], "noise": [1, 0.5, 0]},
    "normalize": pictures,
    "denormalize": {"images": CARS},
    "load_images": {"label": 1, "source": "stand-in"},
    "load_cars": {"source": "stand-in"},
    "gaussian_noise": {"n": 9, "image_shape": (1,)},
    "forward_noise": {"images": CARS, "t": 0},
    "make_model": {"image_shape": (8, 8, 3), "widths": (4,)},
    "compile_model": {"total_steps": 10},
    "draw_batch": {"images": CARS, "schedule": HALF, "seed": 0, "step": 0},
    "train_one": {"images": CARS},
    "train": {"images": CARS, "epochs": 1, "batch_size": 1, "callback": not_called},
    "predict": {"n": 1},
    "predict_step": {"n": 1},
    "loss_by_noise_level": {"images": CARS},
    "classifier_features": pictures,
    "inception_features": pictures,
    "frechet_distance": clouds,
    "kernel_distance": clouds | {"draws": 1},
    "precision_recall": clouds,
    "nearest_training": {"rows": np.eye(60), "training": np.eye(60)},
}
FUNCTIONS = {door.split(".")[-1]: (door, *known) for door, known in DOORS.items()}


def good_arguments(name):
    good = GOOD.get(name, {})
    if "model" in FUNCTIONS.get(name, ({}, {}, {}))[2]:
        good = good | {"model": network_for(name)}
    return good


def no_levels(good):
    """Lists and arrays that are no levels of two steps."""
    numbers = st.floats() | st.floats(-0.5, 1.5) | st.integers(-3, 3)
    lists = st.lists(numbers, max_size=5).filter(lambda levels: not good(levels))
    return not_arrays | lists | lists.map(np.array) | st.just([True, True, False])


not_names = bad_names | st.sampled_from(["Small", "small ", "../small", "small\0"])
sides = st.integers(1, 64)
no_folders = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=300)
other_images = shapes.filter(lambda shape: len(shape) == 4 and 0 not in shape).map(
    lambda shape: np.zeros(shape, np.float32)
)

CASES = {
    (name, argument): strategy_of(kind)
    for name, (_, _, kinds) in FUNCTIONS.items()
    for argument, kind in kinds.items()
}
# What no kind alone refuses: what does not fit together, and functions that are no doors.
MORE = {
    ("Schedule", "noise"): no_levels(lambda a: len(a) == 3 and 1 >= a[0] > a[1] > a[2] >= 0),
    ("Schedule", "signal"): no_levels(lambda a: len(a) == 3 and 0 <= a[0] <= a[1] <= a[2] <= 1),
    ("load_pretrained", "name"): not_names,
    ("load_history", "name"): not_names,
    ("load_cars", "split"): bad_names,
    ("load_cars", "source"): (no_folders | st.sampled_from([__file__, PACKAGE])).filter(
        lambda bad: bad != "stand-in"
    ),
    ("load_images", "label"): st.integers(2, 9),
    ("gaussian_noise", "n"): st.integers(MOST_NUMBERS + 1, 2**32 - 1),
    ("gaussian_noise", "image_shape"): st.sampled_from([(2**30,), (2**20, 2**20, 3)]),
    ("gaussian_noise", "first"): st.integers(2**32 - 8, 2**32 - 1),
    ("make_model", "image_shape"): st.one_of(
        st.lists(sides, max_size=5).filter(lambda shape: len(shape) != 3),
        st.tuples(sides.map(lambda half: 2 * half + 1), st.just(8), st.just(3)),
        st.tuples(st.just(8), st.just(8), st.integers(4097, 2**32 - 1)),
    ),
    ("make_model", "widths"): st.one_of(
        st.lists(st.integers(4097, 2**32 - 1), max_size=3),
        st.lists(st.integers(1, 9), min_size=4, max_size=60),
    ),
    ("predict", "n"): st.integers(2**22, 2**32 - 1),
    ("predict_step", "n"): st.integers(2**18, 2**22),
    ("train", "batch_size"): st.integers(3, 2**32 - 1),
    ("train", "epochs"): st.integers(2**30, 2**31 - 1),
    ("train", "images"): other_images,
    ("train_one", "images"): other_images,
    ("train_one", "schedule"): not_linear,
    ("loss_by_noise_level", "images"): other_images,
}


@pytest.mark.parametrize(("name", "argument"), [*CASES, *MORE.keys() - CASES.keys()])
@tried(150)
@given(chosen=st.data())
def test_a_bad_argument_ends_in_one_sentence_of_ours(name, argument, chosen):
    place = name, argument
    bad = chosen.draw(CASES.get(place, st.nothing()) | MORE.get(place, st.nothing()))
    counted["bad"] += 1
    counted[place] += 1
    function = FUNCTIONS[name][1] if name in FUNCTIONS else getattr(core, name)
    arguments = {**good_arguments(name), argument: bad}
    with loud(), pytest.raises((TypeError, ValueError, OSError)) as raised:
        function(**arguments)
    text = str(raised.value)
    where = Path(traceback.extract_tb(raised.tb)[-1].filename)
    assert PACKAGE in where.parents, f"{where}: {raised.typename}: {text}"
    assert "\n" not in text, text
    assert 20 < len(text) < 600, text
    assert any(word in text for word in ("expected", "needs", "give at", "build it")), text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_kind_lets_the_good_arguments_in(name):
    _, function, kinds = FUNCTIONS[name]
    good = inspect.signature(function).bind(**good_arguments(name))
    good.apply_defaults()
    for argument, kind in kinds.items():
        kind(argument, good.arguments[argument])


# --- the terminal -------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
odd_numbers = ["", " 5", "5 ", "+5", "1_000", "0x10", "1e3", "٣.٥", "²", "nan", "9" * 5000]
number_words = words | st.integers().map(str) | st.floats().map(str) | st.sampled_from(odd_numbers)


def no_whole_word(least, most=2**32 - 1):
    return number_words.filter(
        lambda word: not (word.isdecimal() and len(word) <= 10 and least <= int(word) <= most)
    )


def no_file(*endings):
    names = ["", *endings, "file/a" + endings[0], "folder.png", "cars.PNG", "found.json.gz"]
    return words.filter(lambda word: Path(word).suffix not in endings) | st.sampled_from(names)


no_minutes = number_words.filter(lambda word: not word.replace(".", "", 1).isdecimal())
no_minutes |= st.sampled_from(["-1", "inf", "1e9", ".", "527041", "999999.9"])
no_network = words.filter(lambda word: not word.startswith("small"))
no_network |= st.sampled_from(["small-epoch-0", "empty", "file", ".", "a" * 5000, "a\nb"])
TRAIN, SAMPLE = "train --epochs=1 --batch-size=8", "sample --out=cars.png"

# A good line, the option that is spoilt, and what spoils it.
OPTIONS = {
    ("train", "--epochs"): no_whole_word(1),
    (TRAIN, "--batch-size"): no_whole_word(1, 40),
    (TRAIN, "--seed"): no_whole_word(0),
    (TRAIN, "--images"): no_whole_word(8),
    (TRAIN, "--devices"): no_whole_word(1, 64),
    (TRAIN, "--save-minutes"): no_minutes,
    (TRAIN, "--weights-dir"): st.sampled_from(["", "file", "file/below", "\0", "empty/../file"]),
    (SAMPLE, "--n"): no_whole_word(1, 174_762),
    (SAMPLE, "--steps"): no_whole_word(1, 10_000),
    (SAMPLE, "--seed"): no_whole_word(0),
    (SAMPLE, "--weights"): no_network,
    ("sample", "--out"): no_file(".png", ".npy"),
    ("evaluate", "--n"): no_whole_word(1000, 20_000),
    ("evaluate", "--seed"): no_whole_word(0),
    ("evaluate", "--weights"): no_network,
    ("evaluate", "--out"): no_file(".json"),
    ("evaluate", "--features"): words.filter(lambda w: w not in ("classifier", "inception")),
    (SAMPLE, "an unknown option"): words.map(lambda word: f"-{word}"),
    ("", "an unknown command"): words.filter(lambda word: not word.startswith("-")),
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
    monkeypatch.setattr("diffusion_core.model.make_model", lambda: network_for("evaluate"))
    monkeypatch.setattr("diffusion_core.model._load", lambda *state: network_for("evaluate"))
    for work in ("evaluation.predict", "evaluation.load_cars", "training.train_one"):
        monkeypatch.setattr(f"diffusion_core.{work}", not_called)
    monkeypatch.setattr("keras.Model.predict_on_batch", not_called)


@pytest.mark.parametrize(("line", "option"), OPTIONS)
@tried(200)
@given(chosen=st.data())
def test_a_bad_option_ends_in_one_sentence_and_no_traceback(line, option, terminal, capsys, chosen):
    bad = chosen.draw(OPTIONS[line, option])
    counted["bad"] += 1
    counted[line, option] += 1
    before = sorted(Path().rglob("*"))
    try:
        code = main([*line.split(), f"{option}={bad}" if option[0] == "-" else bad])
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    if len(bad) > 1 and bad in ("-h", "--help"[: len(bad)]):
        assert code == 0
        return
    assert "Traceback" not in error
    assert len(error) < 1500 + 3 * len(bad)
    if code == 1:
        assert error.startswith(f"diffusion_core {line.split()[0]}: ")
        assert error.count("\n") == 1, error
        hints = ("expected", "at most", "train into it", "there are 40 cars")
        assert any(hint in error for hint in hints), error
    else:
        assert code == 2
        assert "usage: " in error
        assert "error: " in error
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["sample", "--n", "five", "--out", "a.png"], 2), (["sample", "--out", b"\xff.jpg"], 1)],
)
def test_a_real_process_ends_as_the_function_does(tmp_path, arguments, code):
    command = [sys.executable, "-m", "diffusion_core", *arguments]
    surroundings = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONUTF8": "1"}
    result = subprocess.run(
        command, cwd=tmp_path, env=surroundings, capture_output=True, timeout=240, check=False
    )
    assert result.returncode == code, result.stderr
    assert b"Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- good input ---------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1).flatmap(lambda n: st.sampled_from([n, np.uint32(n), np.int64(n)]))
integers = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.uint64, int])
unit = st.floats(0, 1)
makers = [core.linear_schedule, core.cosine_schedule, core.ddpm_schedule]


def good(examples, **strategies):
    """Try so many good inputs, and count them."""
    some, *others = strategies.items()
    counting = {some[0]: some[1].map(lambda value: counted.update(good=1) or value)}
    return lambda test: tried(examples)(given(**counting, **dict(others))(test))


@good(250, shape=shapes, seed=st.integers(0, 2**32))
def test_pixels_survive_the_way_there_and_back(shape, seed):
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    values = core.normalize(images)
    assert values.dtype == np.float32
    assert ((values >= -1) & (values <= 1)).all()
    back = core.denormalize(values)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, images, strict=True)


@good(250, value=st.floats(allow_nan=False, allow_infinity=False), dtype=st.sampled_from("efdg"))
def test_every_finite_float_becomes_the_nearest_pixel(value, dtype):
    with np.errstate(over="ignore"):
        array = np.nan_to_num(np.array(value).astype(dtype))  # infinite: the dtype's largest number
    with loud():
        pixel = core.denormalize(array)
    assert pixel.dtype == np.uint8
    exact = min(max((float(array) + 1) * 127.5, 0), 255)
    assert abs(pixel - exact) <= (0.6 if dtype == "e" else 0.501)


@good(200, steps=st.integers(1, 1000), kind=st.sampled_from([int, np.int16, np.uint64, np.uint8]))
def test_schedules_run_from_noise_to_clean(steps, kind):
    steps = min(steps, 255) if kind is np.uint8 else steps
    for power, make in zip((1, 2, 2), makers, strict=True):
        made = make(kind(steps))
        assert made.timesteps == steps
        assert made.signal.dtype == made.noise.dtype == np.float64
        assert made.signal.shape == made.noise.shape == made.signal_to_noise.shape == (steps + 1,)
        assert (np.diff(made.noise) < 0).all()
        assert (np.diff(made.signal) > 0).all()
        np.testing.assert_allclose(made.signal**power + made.noise**power, 1, atol=1e-12)


@good(150, noise=st.lists(unit, min_size=2, max_size=9, unique=True), signal=st.data())
def test_every_falling_noise_with_a_rising_signal_is_a_schedule(noise, signal):
    noise = sorted(noise, reverse=True)
    rising = sorted(signal.draw(st.lists(unit, min_size=len(noise), max_size=len(noise))))
    with loud():
        made = core.Schedule(rising, noise)
        assert made.signal_to_noise.shape == (len(noise),)
    np.testing.assert_array_equal([made.signal, made.noise], [rising, noise])


@good(
    250,
    n=st.integers(1, 9),
    first=st.integers(0, 2**32 - 10),
    seed=seeds,
    shape=st.lists(st.integers(1, 4), max_size=4).map(tuple),
    kind=integers,
)
def test_noise_depends_on_seed_and_number_alone(n, first, seed, shape, kind):
    noise = core.gaussian_noise(kind(n), shape, seed, first)
    assert noise.dtype == np.float32
    assert noise.shape == (n, *shape)
    assert np.isfinite(noise).all()
    last = core.gaussian_noise(1, list(shape), int(seed), np.int64(first + n - 1))
    np.testing.assert_array_equal(noise[-1:], last)


@good(250, n=st.integers(1, 4), chosen=st.data(), seed=seeds, steps=st.integers(1, 300))
def test_forward_noise_equals_its_closed_form(chosen, n, seed, steps):
    kind = chosen.draw(integers)
    most = steps - 1 if kind is int else min(steps - 1, np.iinfo(kind).max)
    t = chosen.draw(st.integers(0, most) | st.lists(st.integers(0, most), min_size=n, max_size=n))
    made = chosen.draw(st.sampled_from(makers))(steps)
    images = np.random.default_rng(int(seed)).uniform(-1, 1, (n, 2, 3, 1)).astype(np.float32)
    epsilon = core.gaussian_noise(n, (2, 3, 1), seed).astype(np.float64)
    answer = core.forward_noise(images, np.array(t, kind), made, seed=seed)
    for x, step in zip(answer, (np.array(t), np.array(t) + 1), strict=True):
        assert x.dtype == np.float32
        at = np.broadcast_to(step, n)[:, None, None, None]
        expected = made.signal[at] * images + made.noise[at] * epsilon
        np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6)


@good(150, n=st.integers(1, 4), seed=seeds, step=seeds, steps=st.integers(1, 40))
def test_a_training_question_and_its_answer_differ_by_one_step(n, seed, step, steps):
    images = np.random.default_rng(int(step)).uniform(-1, 1, (n, 2, 4, 3)).astype(np.float32)
    linear = core.linear_schedule(steps)
    (x_t, level, next_level), x_next = core.draw_batch(images, linear, seed, step)
    assert {array.dtype for array in (x_t, level, next_level, x_next)} == {np.dtype(np.float32)}
    assert x_t.shape == x_next.shape == images.shape
    assert level.shape == next_level.shape == (n, 1)
    np.testing.assert_allclose(level - next_level, 1 / steps, atol=1e-6)
    # x_next - x_t = (x0 - epsilon) / steps, so both lead to the same clean image, mirrored or not.
    clean = x_t + steps * level[..., None, None] * (x_next - x_t)
    away = [np.abs(clean - x0).max((1, 2, 3)) for x0 in (images, images[:, :, ::-1])]
    assert np.minimum(*away).max() < 1e-4 * steps
    again, _ = core.draw_batch(images, linear, int(seed), np.int64(step))
    np.testing.assert_array_equal(again[0], x_t)


@good(
    100,
    label=st.sampled_from([1, np.int8(1), "automobile", np.str_("automobile")]),
    split=st.sampled_from(["train", "test"]),
)
def test_the_stand_in_has_the_documented_form(label, split):
    cars = core.load_images(label, split, "stand-in")
    assert cars.dtype == np.uint8
    assert cars.shape[1:] == (32, 32, 3)
    np.testing.assert_array_equal(cars, core.load_cars(split, "stand-in"))


@good(
    50,
    sizes=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    width=st.integers(1, 5),
    residual=st.booleans(),
    kind=integers,
)
def test_a_network_takes_and_returns_its_image_shape(sizes, sides, width, residual, kind):
    shape, widths = (sides[0] * 2**sizes, sides[1] * 2**sizes, sides[2]), (width,) * sizes
    network = core.make_model(tuple(map(kind, shape)), [*map(kind, widths)], kind(1), residual)
    assert network.output_shape == (None, *shape)
    expected = {"image_shape": shape, "widths": widths, "blocks": 1, "residual": residual}
    assert network.settings == expected


@good(50, n=st.integers(1, 7), size=st.integers(1, 8), seed=seeds)
def test_the_same_pictures_whatever_the_batch_size(n, size, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "BATCH_SIZE", size)
        pictures = core.predict(network_for("predict"), np.uint8(n), HALF, seed)
        noise = core.gaussian_noise(n, (8, 8, 3), seed)
        states = core.predict_step(network_for("predict"), noise=noise, schedule=HALF)
    assert pictures.dtype == states.dtype == np.float32
    assert states.shape == (3, n, 8, 8, 3)
    np.testing.assert_allclose(states[-1], pictures, rtol=0, atol=1e-5)
    first = core.predict(network_for("predict"), 1, HALF, int(seed))
    np.testing.assert_allclose(pictures[:1], first, rtol=0, atol=1e-5)


def test_a_run_may_be_described_with_the_numbers_of_numpy(monkeypatch, tmp_path):
    """They are written into the state as text, where only Python's own numbers have a place."""
    monkeypatch.setattr("diffusion_core.training.train_one", lambda *batch: 0.0)
    numbers = {"batch_size": np.uint8(2), "seed": np.int64(3), "learning_rate": np.float32(1e-3)}
    for epochs in (np.int8(1), np.uint64(2)):
        network = core.make_model((8, 8, 3), (4,))
        history = core.train(network, CARS, epochs=epochs, weights_dir=tmp_path, **numbers)
    assert history["epoch"] == [1, 2]


# --- how many there were ------------------------------------------------------------------------


def test_every_public_function_has_its_doors_tried():
    assert {name for name, _ in [*CASES, *MORE]} >= {*core.__all__} - {"default_weights_dir"}


def test_as_many_were_tried_as_promised(capsys):
    with capsys.disabled():
        print(f"\nbad inputs: {counted['bad']:,}; good inputs: {counted['good']:,}")
    if {*CASES, *MORE, *OPTIONS} - counted.keys() or not counted["good"]:
        pytest.skip("only a part of this file was run")
    assert counted["bad"] >= (10_000 if LONG else 200)
    assert counted["good"] >= (1_000 if LONG else 20)
