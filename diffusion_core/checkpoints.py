"""Saving and finding weights: nothing is lost when a session ends in the middle of a run.

A state is one safetensors file (numbers and text, no code, so reading one runs nothing): weights,
their averages, every optimizer slot, the step, the place in the epoch, the history and the run's
configuration. All draws depend on the seed and the step or epoch alone, so these are the whole
random state. Shipped networks are smaller files with the averaged weights alone, as float16.

The newest state is the one to go on from and to draw with; none is marked as the best, since the
loss of an epoch says less about the averaged weights than the length of the run does. File names
hold the order, not clocks and not links, because Google Drive keeps neither.
"""

import json
import re
import sys
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import numpy as np

from diffusion_core.checks import brief
from diffusion_core.classifier import make_classifier
from diffusion_core.devices import device_names
from diffusion_core.files import drive_dir, write_atomically
from diffusion_core.model import make_model
from diffusion_core.tensorfile import DamagedError, pack, read

KEEP = 3
PRETRAINED = Path(__file__).parent / "pretrained"


def default_weights_dir() -> Path:
    """Return the folder for weights: on Google Drive when it is mounted, else `./weights`."""
    drive = drive_dir()
    return drive / "weights" if drive else Path("weights")


def check_folder(weights_dir: str | Path) -> Path:
    """Return the folder as a path.

    Raises `NotADirectoryError` if a file stands in its place, or in that of a folder above it.
    """
    folder = Path(weights_dir)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file; expected a folder for weights.")
    return folder


def snapshot(model: keras.Model, progress: dict) -> tuple[dict[str, np.ndarray], dict]:
    """Copy the full state of a training model out of its variables, so that training may go on.

    Args:
        model: a model that `train` or `compile_model` prepared.
        progress: what else makes up the run, as JSON: its `history`, as `train` returns it, the
            `losses` and `seconds` of the unfinished epoch, its `configuration` and `epochs`.

    Returns:
        `(tensors, about)`, as `write` takes them.
    """
    about = {
        "settings": model.settings,
        "step": steps_done(model),
        "versions": versions(),
        **json.loads(json.dumps(progress)),
    }
    # What Keras returns may share its memory with the variable; np.array copies.
    copied = {k: np.array(keras.ops.convert_to_numpy(v)) for k, v in _variables(model).items()}
    return copied, about


def steps_done(model: keras.Model) -> int:
    """Return how many steps the optimizer of a model took."""
    # On several devices TensorFlow's count has no `int` of its own.
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def averages(model: keras.Model) -> list[keras.Variable]:
    """Return the averaged weights of a training model, in the order of `trainable_variables`."""
    # In float16 Keras wraps the optimizer in one that scales the loss.
    return getattr(model.optimizer, "inner_optimizer", model.optimizer).averages


def write(folder: Path, tensors: dict[str, np.ndarray], about: dict) -> Path:
    """Write a snapshot into an existing folder, and remove all but the last `KEEP` states.

    The file is written whole or not at all, and read back before an older one goes.

    Returns:
        The path of the new file, `state-EPOCHS-STEP.safetensors`, with the epochs that are done.

    Raises:
        OSError: a folder that is missing or cannot be written, a full disk, or a disk that reads
            something else than was written.
        ValueError: a tensor holds NaN or infinity, so this is no state to go on from.
    """
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError(
            f"after step {about['step']} some weights are NaN or infinite; the saved states are "
            "from before. Train anew with a smaller learning rate, into another weights_dir."
        )
    path = folder / f"state-{len(about['history']['epoch']):06d}-{about['step']:09d}.safetensors"
    content = pack(tensors, about)
    write_atomically(path, content, make_folder=False)
    if path.read_bytes() != content:
        raise OSError(f"{path} reads back other than it was written")
    for old in [old for old in _states(folder) if _place(old) <= _place(path)][:-KEEP]:
        # What cannot be removed costs room, but the new state is safe.
        with suppress(OSError):
            old.unlink()
    return path


def find_latest(weights_dir: str | Path) -> Path | None:
    """Return the newest whole state of a folder, by its epochs and steps; None when there is none.

    A damaged state is passed over with a warning that names it, and stays where it is.

    Raises:
        ValueError: there are states, but all are damaged; or the newest is of a later format.
        NotADirectoryError: a file stands in the place of the folder.
        OSError: a state cannot be read now. It is not passed over, since it may be whole.
    """
    states = _states(check_folder(weights_dir))
    for path in reversed(states):
        try:
            read(path)
        except DamagedError as error:
            warnings.warn(f"{error} It is passed over.", stacklevel=2)
        else:
            return path
    if states:
        raise ValueError(
            f"none of the {len(states)} states in {weights_dir} is whole; move them away to start "
            "anew, or give another weights_dir."
        )
    return None


def set_aside(latest: Path) -> None:
    """Rename the damaged states newer than `latest` to `damaged-…`, so that none is overwritten."""
    for path in _states(latest.parent):
        if _place(path) > _place(latest):
            with suppress(OSError):
                path.rename(path.with_name(f"damaged-{path.name}"))


def check_configuration(path: str | Path, configuration: dict) -> None:
    """Raise `ValueError` unless a state was written by a run of the same configuration.

    The text names every setting that differs. Other versions of the libraries are no error but a
    warning, since training goes on, only not to the last bit as without the change.
    """
    about = read_about(path)
    saved, wanted = about["configuration"], json.loads(json.dumps(configuration))
    differing = [
        f"{name} is {brief(wanted.get(name))} and was {brief(saved.get(name))}"
        for name in {**saved, **wanted}
        if wanted.get(name) != saved.get(name)
    ]
    if differing:
        raise ValueError(
            f"{path} belongs to another run: {'; '.join(differing)}. Give what it was to go on, or "
            "another weights_dir to start anew."
        )
    changed = [
        f"{name} {version} (was {about['versions'].get(name)})"
        for name, version in versions().items()
        if version != about["versions"].get(name)
    ]
    if changed:
        warnings.warn(
            f"{path} was written with other versions: now {', '.join(changed)}. Training goes on, "
            "but may differ in the last digits from a run without the change.",
            stacklevel=2,
        )


def restore(model: keras.Model, path: str | Path) -> dict:
    """Put a saved state into a model that `compile_model` prepared, and return what is known of it.

    Returns:
        The `about` that `snapshot` describes.

    Raises:
        ValueError: the file is damaged, of another format, or of another network; the text names
            the first layer that differs. The model is then unchanged.
    """
    tensors, about = read(path)
    _assign(_variables(model), tensors, path)
    return about


def read_about(path: str | Path) -> dict:
    """Return what a saved state says of itself, as `snapshot` describes it.

    Raises `ValueError` as `restore` does for a damaged file.
    """
    return read(path)[1]


def versions() -> dict[str, str]:
    """Return the versions, the backend and the devices on which the last bits of a run depend."""
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        "numpy": np.__version__,
        backend: sys.modules[backend].__version__,
        "devices": ", ".join(device_names()),
    }


def load_weights_dir(weights_dir: str | Path) -> keras.Model:
    """Return the network of the newest whole state in a folder, with its averaged weights.

    For other Keras programs, `load_weights_dir(folder).save_weights("cars.weights.h5")` writes
    these weights alone, and `make_model(...).load_weights("cars.weights.h5")` reads them.

    Raises `FileNotFoundError` when the folder holds no state.
    """
    latest = find_latest(weights_dir)
    if latest is None:
        raise FileNotFoundError(f"{weights_dir} holds no saved state; train into it first.")
    return _load_network(latest)


def load_pretrained(name: str = "small") -> keras.Model:
    """Return a network that comes with this package, ready for `predict`.

    Args:
        name: "small", or one of its earlier epochs such as "small-epoch-005".

    Raises:
        ValueError: an unknown name; the text lists those there are.
    """
    return _load_network(_shipped(name, ".safetensors"))


def load_classifier() -> keras.Model:
    """Return the trained classifier that comes with this package; see `make_classifier`.

    It measures in float32, whatever precision the networks have that it judges.
    """
    path = PRETRAINED / "classifier" / "weights.safetensors"
    with in_float32():
        model = make_classifier()
    _assign({f"averages/{v.path}": v for v in model.weights}, read(path)[0], path)
    return model


@contextmanager
def in_float32():
    """Make a `with` block in which new networks compute in float32."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def load_history(name: str = "small") -> dict[str, list[float]]:
    """Return the training history of a network that comes with this package, as `train` does.

    Raises `ValueError` for an unknown name.
    """
    return json.loads(_shipped(name, "-history.json").read_text())["history"]


def export(model: keras.Model, path: str | Path) -> None:
    """Write the weights that the model holds now as float16, with its settings, for shipping."""
    tensors = {f"averages/{v.path}": np.asarray(v).astype(np.float16) for v in model.weights}
    about = {"settings": getattr(model, "settings", {})}
    write_atomically(Path(path), pack(tensors, about))


def _shipped(name, ending):
    files = {path.name.removesuffix(ending): path for path in PRETRAINED.glob(f"*{ending}")}
    if not isinstance(name, str) or name not in files:
        raise ValueError(
            f"there is no network {brief(name)}; expected one of {', '.join(sorted(files))}."
        )
    return files[name]


def _states(folder):
    """Return the paths of a folder that are named like states, the oldest first."""
    names = [p for p in folder.glob("state-*") if re.fullmatch(_NAME, p.name)]
    return sorted(names, key=_place)


_NAME = r"state-\d+-\d+\.safetensors"


def _place(path):
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def _variables(model):
    """Name every variable of a training model; the averages can be found without an optimizer."""
    pairs = zip(model.trainable_variables, averages(model), strict=True)
    stored = {id(average) for average in averages(model)}
    return {
        **{f"weights/{variable.path}": variable for variable in model.variables},
        **{f"averages/{variable.path}": average for variable, average in pairs},
        # The first part of a path is the optimizer's own name, which changes with every compile.
        **{
            f"optimizer/{slot.path.split('/', 1)[-1]}": slot
            for slot in model.optimizer.variables
            if id(slot) not in stored
        },
    }


def _load_network(path):
    tensors, about = read(path)
    model = make_model(**about["settings"])
    _assign({f"averages/{v.path}": v for v in model.weights}, tensors, path)
    return model


def _assign(variables, tensors, path):
    """Assign every tensor, after all have been found to fit."""
    wanted = {key: tuple(variable.shape) for key, variable in variables.items()}
    kind = next(iter(wanted)).split("/")[0]
    found = {key: tensor.shape for key, tensor in tensors.items() if key.startswith(f"{kind}/")}
    # The weights come first, since their names tell a reader more than the optimizer's numbers.
    for key in [*(key for key in wanted if key.startswith(f"{kind}/")), *found, *wanted]:
        saved = tensors[key].shape if key in tensors else "nothing"
        expected = wanted.get(key, "nothing")
        if saved != expected:
            raise ValueError(
                f"{path} is of another network: at {key} it holds {saved}, and the model holds "
                f"{expected}. Build the model with the same make_model arguments."
            )
    for key, variable in variables.items():
        variable.assign(tensors[key])
