"""Saved states: files of named tensors and text that can be found, checked and read again.

A state is one safetensors file (numbers and JSON, no code, so reading one from a stranger runs
nothing), with a SHA-256 over every byte: weights, averages, every optimizer slot, the step, the
place in the epoch, the history and the run's configuration. All draws depend on the seed and the
step or epoch alone, so these are the whole random state. Shipped networks are smaller files with
the averaged weights alone, as float16.

The newest state is the one to go on from and to draw with; none is marked as the best, since the
loss of an epoch says less about the averaged weights than the length of the run does. File names
hold the order, not clocks and not links, because Google Drive keeps neither.
"""

import hashlib
import json
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from diffusion_core.checks import brief
from diffusion_core.runs.averaging import averages, steps_done
from diffusion_core.runs.devices import device_names
from diffusion_core.runs.files import write_atomically

FORMAT = 2
KEEP = 3
_BLANK = "0" * 64
# A damaged or hostile file may be no file, no text, or text of any form.
_UNREADABLE = (
    FileNotFoundError,
    IsADirectoryError,
    SafetensorError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
)


class DamagedError(ValueError):
    """A file that is not, or not any more, what `pack` once made."""


def pack(tensors: dict[str, np.ndarray], about: dict) -> bytes:
    """Return the content of a file: the tensors, and in its header `about` as JSON.

    The header also holds a SHA-256, of the whole content with zeros in the digest's own place. The
    same tensors and text always make the same bytes.
    """
    text = json.dumps({"sha256": _BLANK, "format": FORMAT, **about})
    # One entry, since safetensors puts several into an order that changes with every process.
    content = safetensors.numpy.save(tensors, {"about": text})
    return content.replace(_field(_BLANK), _field(hashlib.sha256(content).hexdigest()), 1)


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return the tensors and `about` of a file, after every byte of it was checked.

    Raises:
        DamagedError: it is missing, cut short, changed, or something else altogether.
        ValueError: it is whole, but of a later format.
        OSError: it cannot be read now, which says nothing about what it holds.
    """
    try:
        content = Path(path).read_bytes()
        header = content[8 : 8 + int.from_bytes(content[:8], "little")]
        about = json.loads(json.loads(header)["__metadata__"]["about"])
        stated = about.pop("sha256")
        blank = content.replace(_field(stated), _field(_BLANK), 1)
        if stated != hashlib.sha256(blank).hexdigest():
            raise ValueError("its checksum does not fit")
        later = about["format"] > FORMAT
        tensors = {} if later else safetensors.numpy.load(content)
    except _UNREADABLE as error:
        raise DamagedError(f"{path} is not a whole saved state: {error}.") from error
    if later:
        raise ValueError(
            f"{path} has format {about['format']}; this version reads {FORMAT}. Update "
            "diffusion_core."
        )
    return tensors, about


def _field(digest):
    # JSON inside JSON: the quotes of the inner text are escaped.
    return f'\\"sha256\\": \\"{digest}\\"'.encode()


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
    """Copy the full state of a training model, so that training may go on while it is written.

    `progress` is what else makes up the run, as JSON: `history`, the `losses` and `seconds` of the
    unfinished epoch, `configuration` and `epochs`. Returns what `write` takes.
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
    write_atomically(path, pack(tensors, about), make_folder=False)
    try:
        read(path)
    except DamagedError as error:
        raise OSError(f"{path} reads back other than it was written: {error}") from error
    for old in [old for old in _states(folder) if _place(old) <= _place(path)][:-KEEP]:
        # What cannot be removed costs room, but the new state is safe.
        with suppress(OSError):
            old.unlink()
    return path


def find_newest(weights_dir: str | Path) -> tuple[Path, dict[str, np.ndarray], dict] | None:
    """Return the newest whole state of a folder: path, tensors, `about`; None when there is none.

    It is the newest by its epochs and steps. A damaged one is passed over with a warning that names
    it, and stays where it is.

    Raises:
        ValueError: there are states, but all are damaged; or the newest is of a later format.
        NotADirectoryError: a file stands in the place of the folder.
        OSError: a state cannot be read now. It is not passed over, since it may be whole.
    """
    states = _states(check_folder(weights_dir))
    for path in reversed(states):
        try:
            return path, *read(path)
        except DamagedError as error:
            warnings.warn(f"{error} It is passed over.", stacklevel=2)
    if states:
        raise ValueError(
            f"none of the {len(states)} states in {weights_dir} is whole; move them away to start "
            "anew, or give another weights_dir."
        )
    return None


def find_latest(weights_dir: str | Path) -> Path | None:
    """Return the path of the state that `find_newest` finds, or None."""
    found = find_newest(weights_dir)
    return found and found[0]


def read_about(path: str | Path) -> dict:
    """Return what a saved state says of itself, as `snapshot` describes it; raises as `read`."""
    return read(path)[1]


def set_aside(latest: Path) -> None:
    """Rename the damaged states newer than `latest` to `damaged-…`, so that none is overwritten."""
    for path in _states(latest.parent):
        if _place(path) > _place(latest):
            with suppress(OSError):
                path.rename(path.with_name(f"damaged-{path.name}"))


def check_configuration(path: Path, about: dict, wanted: dict) -> None:
    """Raise `ValueError` unless a state was written by a run of the same configuration.

    The text names every setting that differs. Other versions of the libraries are no error but a
    warning, since training goes on, only not to the last bit as without the change.
    """
    saved, wanted = about.get("configuration"), json.loads(json.dumps(wanted))
    if not isinstance(saved, dict):
        raise ValueError(
            f"{path} has no configuration, so nobody knows whether it belongs to this run; give "
            "another weights_dir to start anew."
        )
    # What older versions did not write down yet is taken for what it is now.
    differing = [
        f"{name} is {brief(wanted.get(name))} and was {brief(saved.get(name))}"
        for name in {**saved, **wanted}
        if wanted.get(name) != saved.get(name, wanted.get(name))
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


def versions() -> dict[str, str]:
    """Return the versions, the backend and the devices on which the last bits of a run depend."""
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        "numpy": np.__version__,
        backend: sys.modules[backend].__version__,
        "devices": ", ".join(device_names()),
    }


def restore(model: keras.Model, tensors: dict[str, np.ndarray], path: Path) -> None:
    """Put a saved state into a model that `compile_model` prepared.

    Raises `ValueError`, with the model unchanged, if the state is of another network; the text
    names the first layer that differs.
    """
    _assign(_variables(model), tensors, path)


def load_averages(model: keras.Model, tensors: dict[str, np.ndarray], path: Path) -> keras.Model:
    """Put the averaged weights of a state or a shipped file into a model, and return it."""
    # A layer that was frozen has weights and no average of them.
    frozen = {f"averages/{v.path}" for v in model.weights} - tensors.keys()
    tensors |= {key: tensors[plain] for key in frozen if (plain := f"weights/{key[9:]}") in tensors}
    _assign({f"averages/{v.path}": v for v in model.weights}, tensors, path)
    return model


def export(model: keras.Model, path: str | Path) -> None:
    """Write the weights that the model holds now as float16, with its settings, for shipping.

    Raises `ValueError` if a weight is too large for float16.
    """
    with np.errstate(over="ignore"):
        tensors = {f"averages/{v.path}": np.asarray(v).astype(np.float16) for v in model.weights}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(
                f"{name.removeprefix('averages/')} holds a number that float16 does not; expected "
                "weights from -65,504 to 65,504."
            )
    write_atomically(Path(path), pack(tensors, {"settings": getattr(model, "settings", {})}))


def _states(folder):
    """Return the paths of a folder that are named like states, the oldest first."""
    name = r"state-\d+-\d+\.safetensors"
    return sorted((p for p in folder.glob("state-*") if re.fullmatch(name, p.name)), key=_place)


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
