"""Bad input by the thousand: every door of the package answers in one sentence. And good input too.

The doors and the kinds of their arguments come from `checks.DOORS`; each kind has one strategy of
bad values here. A few hundred are tried, always the same; `BAD_INPUT=long` tries more than ten
thousand, other ones every time (see `conftest.py`).
"""

import functools
import inspect
import os
import pkgutil
import subprocess
import sys
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffusion_core as core
from diffusion_core import checks, data, guidance, jumps, samplers, schedule
from diffusion_core.__main__ import _parser
from diffusion_core.checks import DOORS, YEAR
from diffusion_core.runs import guards
from diffusion_core.sources import cifar10, features, folders, measures

for module in pkgutil.walk_packages(core.__path__, "diffusion_core."):
    import_module(module.name)  # so that its doors are known

PACKAGE = Path(core.__file__).parent


def loud():
    """Make a `with` block in which a warning is an error."""
    return warnings.catch_warnings(action="error")


# --- what people and programs hand over by mistake ----------------------------------------------


def fail(*args, **options):
    raise RuntimeError("nothing here for you")


# Hypothesis prints what it draws from, so what cannot be printed is made late.
broken = st.sampled_from(["__repr__", "__array__", "__len__"])
objects = broken.map(lambda method: type("Broken", (), {method: fail})())
objects |= st.sampled_from([object(), int, len, ..., np, Path("x"), b"", {}, set()])
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
huge = gigantic | st.sampled_from([2**32, 2**63, 2**64, 2**200, -(2**63)])


def outside(least, most, others=huge):
    """Whole numbers, and others, that lie below `least` or above `most`."""
    numbers = st.integers() | st.sampled_from([least - 1, most + 1, np.int64(least - 1)])
    return (numbers | huge | others).filter(lambda value: not least <= value <= most)


def filled(shape, *values):
    """Float32 zeros with one of these values in the last place."""
    zeros = np.zeros(np.prod(shape) - 1)
    return st.sampled_from(values).map(lambda a: np.float32([*zeros, a]).reshape(shape))


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
numbers_of_none = not_arrays | of_types("?FDSUOMm")

no_folders = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=300)

# What each kind refuses.
KINDS = {
    checks.SHAPE: st.one_of(
        not_whole.filter(lambda value: not isinstance(value, (tuple, list))),
        st.lists(not_whole, min_size=1, max_size=3).map(tuple),
        st.lists(st.integers(-3, 0) | gigantic, min_size=1, max_size=3).map(tuple),
    ),
    checks.IMAGES: st.one_of(
        st.none() | not_arrays | of_types("?bBhHiIlLqQFDSUOMm"),
        st.just(np.zeros((2, 8, 8, 3), [("red", "f4")])),
        st.sampled_from([(), (8, 8, 3), (0, 8, 8, 3), (2, 8, 0, 3)]).map(
            lambda shape: np.zeros(shape, "f4")
        ),
        filled((2, 8, 8, 3), *infinite, 1.0001, -1.0001, 3e38),
    ),
    checks.NOISE: st.one_of(
        numbers_of_none | filled((2, 8, 8, 3), *infinite),
        shapes.filter(lambda shape: shape[1:] != (8, 8, 3)).map(np.zeros),
        st.sampled_from([np.full((2, 8, 8, 3), 1e300), np.zeros((0, 8, 8, 3))]),
    ),
    checks.NUMBERS: numbers_of_none,
    checks.NETWORK: not_whole | st.integers() | st.sampled_from(not_models),
    checks.LEARNER: not_whole | st.integers() | st.sampled_from(not_models),
    guards.TEACHER: others | floats | st.integers() | st.sampled_from(not_models),
    checks.CLASSES: others | floats | outside(1, 1000),
    guidance.STRENGTH: (st.none() | others | outside(0, 100, floats)).filter(
        lambda bad: not callable(bad)
    ),
    guards.LABELS: not_arrays | shapes.map(np.zeros) | of_types("?efdgFDSUOMm"),
    checks.PATH: st.one_of(
        st.sampled_from(["", "a\0b", b"weights", b"\xff", True, False, ["weights"]]),
        st.integers() | gigantic | floats | st.text(max_size=5).map(lambda text: f"{text}\0"),
        objects.filter(lambda value: not isinstance(value, Path)),
    ),
    checks.CALLBACK: (others | floats | st.integers()).filter(lambda bad: not callable(bad)),
    samplers.SAMPLER: (bad_names | st.sampled_from(["Euler", "dpm-solver", ""])).filter(
        lambda bad: not callable(bad)
    ),
    schedule.SCHEDULE: not_schedules,
    schedule.LINEAR: not_schedules | not_linear,
    checks.BOOL: (not_whole | st.integers() | huge).filter(
        lambda value: not isinstance(value, (bool, np.bool_))
    ),
    data.LABEL: (texts | not_whole | outside(0, 9)).filter(
        lambda value: not isinstance(value, str) or value not in cifar10.LABELS
    ),
    data.PIXELS: st.one_of(
        (st.none() | not_arrays).filter(lambda bad: not isinstance(bad, int)),
        of_types("?efdgFDSUOMm") | st.sampled_from([-1, 256]).map(lambda bad: np.array([0, bad])),
    ),
    folders.FOLDER: st.none() | no_folders,
    checks.HOLE: not_arrays | of_types("bBhHiIlLqQefdgFDSUOMm") | st.just(np.zeros((4, 8), bool)),
    jumps.WAYS: numbers_of_none | st.just(np.zeros((16, 2, 8, 8, 3))),
    data.FLOATS: st.one_of(
        st.none() | not_arrays | of_types("?bBhHiIlLqQFDSUOMm") | filled((2, 3), *infinite),
        st.lists(st.sampled_from(infinite), min_size=1, max_size=3),
    ),
    guards.RATE: st.none() | others | outside(0, 1000, floats),
    guards.LOSS: st.one_of(st.none(), texts, floats, st.integers(), st.booleans(), st.binary()),
    features.AGAINST: bad_names | shapes.map(np.zeros),
    features.PIXELS: not_arrays | of_types("?bhHiIlLqQefdgFDSUOMm") | shapes.map(np.zeros),
    measures.ROWS: st.one_of(
        not_arrays | filled((60, 60), *infinite),
        shapes.filter(lambda shape: len(shape) != 2).map(np.zeros),
        st.sampled_from([*"FDSUOMm"]).map(lambda dtype: np.zeros((60, 60), dtype)),
    ),
    DOORS["diffusion_core.runs.devices.spread"][1]["count"]: others | floats | outside(1, 99),
}


def strategy_of(kind):
    """The bad values of a kind; `number` makes one kind for each range, `one_of` for each list."""
    if kind in KINDS:
        return KINDS[kind]
    if kind.__qualname__.startswith("one_of"):
        return bad_names
    limits = inspect.getclosurevars(kind).nonlocals
    least, most = limits["least"], limits["most"]
    if limits["result"] is int:
        return not_whole | outside(least, most)
    return st.none() | others | outside(least, most, floats)


# --- the doors ----------------------------------------------------------------------------------

CARS = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
HALF = core.linear_schedule(2)
PIXELS = {"images": np.zeros((2, 32, 32, 3), np.uint8)}


@functools.cache
def network_for(name):
    """The network that a function takes: of 8×8 pictures, and where it trains a compiled one."""
    network = core.make_model((32, 32, 3) if name == "evaluate" else (8, 8, 3), (4,))
    if name == "train_one":
        core.compile_model(network, 10)
    if name == "of_class":
        network = core.make_model((8, 8, 3), (4,), classes=10)
    if name == "train_jumps":
        network = core.jumper(network)
    return network


FUNCTIONS = {door.split(".")[-1]: known for door, known in DOORS.items()}
# What functions take for arguments without a default, by the name of the argument.
GOOD = {"images": CARS, "schedule": HALF, "seed": 0, "step": 0, "t": 0, "n": 9, "label": 1}
GOOD |= {"epochs": 1, "total_steps": 10, "count": 1, "signal": [0, 0.5, 1], "noise": [1, 0.5, 0]}
GOOD |= {"w": 2, "low": 0.2, "high": 0.8, "strength": 1}
GOOD |= dict.fromkeys(["features", "reference", "rows", "training"], np.eye(60))
MORE = dict.fromkeys(["normalize", "classifier_features", "inception_features"], PIXELS)
MORE["resemblance"] = {**PIXELS, "training": PIXELS["images"]}
MORE |= {"load_images": {"source": "stand-in"}, "train": {"batch_size": 1}}
MORE["load_classes"] = {"split": "test"}
MORE["inpainting"] = {"hole": np.ones((8, 8), bool)}
MORE["draw_jumps"] = {"ways": np.zeros((17, 2, 8, 8, 3))}
MORE["load_folder"] = {"folder": PACKAGE / "pretrained"}


def good_arguments(name, function):
    parameters = inspect.signature(function).parameters.values()
    good = {p.name: GOOD.get(p.name) for p in parameters if p.default is p.empty}
    good |= {
        key: network_for(name)
        for key in ("model", "weak", "teacher", "source", "target")
        if key in good
    }
    return good | MORE.get(name, {})


not_names = bad_names | st.sampled_from(["Small", "small ", "../small", "small\0"])
PLACES = {
    (name, argument): strategy_of(kind)
    for name, (_, kinds) in FUNCTIONS.items()
    for argument, kind in kinds.items()
}
# What no kind refuses: functions that are no doors, and what no other file tries.
PLACES |= {
    ("Schedule", "noise"): numbers_of_none,
    ("Schedule", "signal"): numbers_of_none,
    ("load_pretrained", "name"): not_names,
    ("load_history", "name"): not_names,
    ("load_cars", "split"): bad_names,
    ("load_cars", "source"): (no_folders | st.sampled_from([__file__, PACKAGE])).filter(
        lambda bad: bad != "stand-in"
    ),
    ("load_images", "label"): PLACES["load_images", "label"] | st.integers(2, 9),
    ("forward_noise", "t"): st.one_of(
        (st.none() | others).filter(lambda value: not isinstance(value, (list, np.ndarray))),
        outside(0, 15) | st.lists(outside(0, 15), min_size=2, max_size=2),
        few | few.map(np.array) | st.sampled_from([*infinite, -1e-9, 16.0]),
        st.sampled_from([[True, False], [[0, 0]], [0.0, np.nan], np.zeros((2, 1), int)]),
    ),
    ("train", "epochs"): PLACES["train", "epochs"] | st.integers(2**30, 2**31 - 1),
    ("loss_by_noise_level", "images"): PLACES["loss_by_noise_level", "images"]
    | st.just(CARS[:, :4]),
}


@pytest.mark.parametrize(("name", "argument"), PLACES)
@given(chosen=st.data())
def test_a_bad_argument_ends_in_one_sentence_of_ours(name, argument, chosen):
    bad = chosen.draw(PLACES[name, argument])
    function = FUNCTIONS[name][0] if name in FUNCTIONS else getattr(core, name)
    arguments = {**good_arguments(name, function), argument: bad}
    with loud(), pytest.raises((TypeError, ValueError, OSError)) as raised:
        function(**arguments)
    text = str(raised.value)
    where = Path(traceback.extract_tb(raised.tb)[-1].filename)
    assert PACKAGE in where.parents, f"{where}: {raised.typename}: {text}"
    assert "\n" not in text, text
    assert 20 < len(text) < 600, text
    hints = ("expected", "needs", "give at", "build it", "unpack")
    assert any(hint in text for hint in hints), text


def test_every_public_function_has_its_doors_tried_ten_thousand_times():
    assert {name for name, _ in PLACES} >= {*core.__all__} - {"default_weights_dir"}
    assert len(PLACES) * settings.get_profile("long").max_examples >= 10_000


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_kind_lets_the_good_arguments_in(name):
    function, kinds = FUNCTIONS[name]
    good = inspect.signature(function).bind(**good_arguments(name, function))
    good.apply_defaults()
    for argument, kind in kinds.items():
        kind(argument, good.arguments[argument])


# --- the terminal -------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
number_words = words | st.integers().map(str) | st.floats().map(str)
number_words |= st.sampled_from(["", "-1", "0x10", "1e3", "²", "nan", "inf", "9" * 5000])


def no_number(read, least, most=2**32 - 1):
    """Words that `read` does not take for a number from `least` to `most`."""

    def is_bad(word):
        try:
            return not least <= read(word) <= most
        except ValueError:
            return True

    return number_words.filter(is_bad)


no_count = no_number(int, 1)
OPTIONS = dict.fromkeys(["--epochs", "--batch-size", "--images", "--devices", "--n"], no_count) | {
    "--seed": no_number(int, 0),
    "--steps": no_number(int, 1, 10_000),
    "--size": no_number(int, 1, 4096),
    "--save-minutes": no_number(float, 0, YEAR),
    "--guidance": no_number(float, 0, 100),
    **dict.fromkeys(["--weights-dir", "--data"], st.sampled_from(["", "\0", "a\0b"])),
    "--out": words.filter(lambda word: Path(word).suffix not in (".png", ".gif", ".npy", ".json"))
    | st.sampled_from(["", ".png", ".json", "cars.PNG", "found.json.gz", f"{__file__}/a.npy"]),
    "--sampler": words.filter(lambda word: word not in samplers.SAMPLERS),
    "--against": words.filter(lambda word: word not in ("train", "held-out")),
    "--label": words.filter(lambda word: word not in cifar10.LABELS),
    "--labels": words.filter(lambda word: word != "all"),
    "--features": words.filter(lambda word: word not in ("classifier", "inception")),
}
(COMMANDS,) = _parser()._subparsers._group_actions
PARSED = {
    (command, option.option_strings[0])
    for command, parser in COMMANDS.choices.items()
    for option in parser._actions
    if option.type or option.choices
}


@pytest.mark.parametrize(("command", "option"), sorted(PARSED))
@given(chosen=st.data())
def test_a_bad_option_ends_in_a_sentence_that_names_it(command, option, capsys, chosen):
    bad = chosen.draw(OPTIONS[option])
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args([command, f"{option}={bad}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"error: argument {option}: " in error
    assert len(error) < 1500 + 3 * len(bad)


def test_a_real_process_ends_as_the_function_does(tmp_path):
    command = [sys.executable, "-m", "diffusion_core", "sample", "--out", b"\xff.jpg"]
    surroundings = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONUTF8": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True)
    assert result.returncode == 2, result.stderr
    assert b"Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- good input, beside that of the other files -------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)


@given(shape=shapes, seed=st.integers(0, 2**32))
def test_pixels_survive_the_way_there_and_back(shape, seed):
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    values = core.normalize(images)
    assert values.dtype == np.float32
    assert ((values >= -1) & (values <= 1)).all()
    np.testing.assert_array_equal(core.denormalize(values), images, strict=True)


@given(value=st.floats(allow_nan=False, allow_infinity=False), dtype=st.sampled_from("efdg"))
def test_every_finite_float_becomes_the_nearest_pixel(value, dtype):
    with np.errstate(over="ignore"):
        array = np.nan_to_num(np.array(value).astype(dtype))  # infinite: the dtype's largest number
    with loud():
        pixel = core.denormalize(array)
    assert pixel.dtype == np.uint8
    exact = min(max((float(array) + 1) * 127.5, 0), 255)
    assert abs(pixel - exact) <= (0.6 if dtype == "e" else 0.501)


def test_a_run_may_be_described_with_the_numbers_of_numpy(monkeypatch, tmp_path):
    """They are written into the state as text, where only Python's own numbers have a place."""
    monkeypatch.setattr("diffusion_core.training.train_one", lambda *batch: 0.0)
    numbers = {"batch_size": np.uint8(2), "seed": np.int64(3), "learning_rate": np.float32(1e-3)}
    for epochs in (np.int8(1), np.uint64(2)):
        network = core.make_model((8, 8, 3), (4,))
        history = core.train(network, CARS, epochs=epochs, weights_dir=tmp_path, **numbers)
    assert history["epoch"] == [1, 2]
