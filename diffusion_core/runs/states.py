"""Saved states: files of named tensors and text that can be found, checked and read again.

A state is one safetensors file (no code, so reading one from a stranger runs nothing) with a
SHA-256 over every byte: weights, averages, every slot of the optimizer, the step, the place in the
epoch, the history and the configuration. All draws depend on the seed and the step or epoch alone,
so these are the whole random state. A shipped network is the averaged weights alone, as float16.

The newest state is the one to go on from and to draw with; none is marked as the best, since the
loss of an epoch says less about the average than the length of the run does. File names hold the
order, not clocks and not links, because Google Drive keeps neither.
"""

import hashlib
import json
import os
import re
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from diffusion_core.checks import MOST_NUMBERS, one_line, short_repr
from diffusion_core.runs.files import DRIVE, read_file, write_atomically
from diffusion_core.runs.optimizer import averages, steps_done

FORMAT = 2
KEEP = 3
START = 2**24  # of larger files, so much is read first, to see whether the rest belongs there
MOST_PARTS = 2**18  # lists and mappings of a header: each takes more memory than its two letters
_BLANK = b"0" * 64
# What a damaged or hostile file leads to: it may be no text, or text of any form.
_NO_STATE = (SafetensorError, LookupError, ValueError, TypeError, AttributeError, RecursionError)


class DamagedError(ValueError):
    """A file that is not, or not any more, what `pack` once made."""


def pack(tensors: dict[str, np.ndarray], about: dict) -> bytes:
    """Return the content of a file: the tensors, and in its header `about` as JSON.

    The header also holds a SHA-256 of the whole content, with zeros in the digest's own place. The
    same tensors and text always make the same bytes.
    """
    text = json.dumps({"sha256": _BLANK.decode(), "format": FORMAT, **about})
    # One entry, since safetensors puts several into an order that changes with every process.
    content = safetensors.numpy.save(tensors, {"about": text})
    return content.replace(_BLANK, hashlib.sha256(content).hexdigest().encode(), 1)


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return the tensors and `about` of a file, after every byte of it was checked.

    Raises:
        DamagedError: it is missing, cut short, changed, or something else altogether.
        ValueError: it is whole, but of a later format.
        OSError: it cannot be read now, which says nothing about what it holds.
    """
    try:
        content = read_file(path, START)
        length = 8 + int.from_bytes(content[:8], "little")
        if content.count(b"[", 0, length) + content.count(b"{", 0, length) > MOST_PARTS:
            raise ValueError("its header has too many parts")
        header = json.loads(content[8:length])
        about = json.loads(header.pop("__metadata__")["about"])
        length += max((part["data_offsets"][1] for part in header.values()), default=0)
        if length != os.path.getsize(path):
            raise ValueError("it is longer or shorter than it says")
        if length > START:
            shapes = {key: tuple(part["shape"]) for key, part in header.items()}
            if length > min(32 * _most_numbers(about["settings"], shapes), 6 * MOST_NUMBERS):
                raise ValueError("it is larger than the network that it speaks of, or than any")
        content = content if len(content) < START else read_file(path)
        if not isinstance(about.get("configuration", {}), dict):
            raise ValueError("its configuration is none")
        stated = about.pop("sha256")
        blank = content.replace(stated.encode(), _BLANK, 1)
        if stated != hashlib.sha256(blank).hexdigest():
            raise ValueError("its checksum does not fit")
        later = about["format"] > FORMAT
        tensors = {} if later else safetensors.numpy.load(content)
    except (FileNotFoundError, IsADirectoryError, *_NO_STATE) as error:
        raise DamagedError(f"{path} is not a whole saved state: {one_line(error)}.") from error
    if later:
        raise ValueError(
            f"{path} has format {short_repr(about['format'])}; this version reads {FORMAT}. Update "
            "diffusion_core."
        )
    return tensors, about


def build(make, path: Path, tensors: dict[str, np.ndarray], about: dict) -> keras.Model:
    """Return `make(**about["settings"])`, if a file holds the kernels of the network it speaks of.

    Otherwise a few bytes could ask for a network that fills the memory. Raises `ValueError`.
    """
    try:
        _most_numbers(about["settings"], {key: tensor.shape for key, tensor in tensors.items()})
        return make(**about["settings"])
    except _NO_STATE as error:
        settings = short_repr(about.get("settings"))
        raise ValueError(
            f"{path} holds no network of make_model({settings}); expected one: {one_line(error)}"
        ) from None


def _most_numbers(settings, shapes):
    """Return more numbers than a network of these settings has, if these are its 3×3 kernels.

    A state holds each four times, in eight bytes at most: weight, average, two slots of Adam.
    """
    widths, blocks = Counter(settings["widths"]), settings["blocks"]
    asked = {(3, 3, width, width): 2 * blocks * n for width, n in widths.items()}
    # Of a layer that was frozen there is no average.
    kernels = {k.split("/", 1)[1]: shape for k, shape in shapes.items() if "_conv_1/kernel" in k}
    if not asked or asked != Counter(kernels.values()):
        raise ValueError("its kernels are others")
    # Of a block: two 3×3 kernels, less than a third to halve and double, and the noise level's.
    in_blocks = 2 * blocks * sum(n * (27 * w**2 + 300 * w) for w, n in widths.items())
    return in_blocks + 8 * settings["image_shape"][2] * max(widths) + 2**17


def snapshot(model: keras.Model, progress: dict) -> tuple[dict[str, np.ndarray], dict]:
    """Copy the full state of a training model, so that training may go on while it is written.

    `progress` is what else makes up the run, as JSON. Returns what `write` takes. Raises
    `ValueError` for NaN or infinity.
    """
    about = {"settings": model.settings, "step": steps_done(model)}
    copied = {key: keras.ops.convert_to_numpy(v) for key, v in variables(model).items()}
    if not all(np.isfinite(values).all() for values in copied.values()):
        raise ValueError(
            f"after step {about['step']} some weights are NaN or infinite; the saved states are "
            "from before. Train anew with a smaller learning rate, into another weights_dir."
        )
    return copied, about | json.loads(json.dumps(progress))


def write(folder: Path, tensors: dict[str, np.ndarray], about: dict) -> Path:
    """Write a snapshot into an existing folder, and remove all but the last `KEEP` states.

    The file `state-EPOCHS-STEP.safetensors` is written whole or not at all, and read back before
    an older one goes. Raises `OSError` where that fails.
    """
    path = folder / name_of(about)
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


def name_of(about: dict) -> str:
    """Return the name of the file of a state."""
    return f"state-{len(about['history']['epoch']):06d}-{about['step']:09d}.safetensors"


def check_folder(weights_dir: str | Path) -> Path:
    """Return a folder as a path; raise `OSError` where none can be."""
    folder = Path(os.path.expanduser(weights_dir))
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not os.path.isdir(there):
        kind = "a file" if os.path.isfile(there) else "a link or device that leads nowhere"
        raise NotADirectoryError(f"{there} is {kind}; expected a folder for weights.")
    if DRIVE.parent in folder.absolute().parents and not DRIVE.is_dir():
        raise FileNotFoundError(f"{folder} is on Google Drive; mount that first (drive.mount).")
    return folder


def find_newest(weights_dir: str | Path) -> tuple[Path, dict[str, np.ndarray], dict] | None:
    """Return the newest whole state of a folder: path, tensors, `about`; None when there is none.

    A damaged one is passed over with a warning that names it, and stays where it is. Raises
    `ValueError` if all are damaged, or the newest is of a later format, and `OSError` if one cannot
    be read now: it is not passed over, since it may be whole.
    """
    folder = check_folder(weights_dir)
    states = _states(folder)
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
    # Beside what `train` itself writes there, perhaps before the first state.
    found = [*folder.glob("*.safetensors"), *folder.glob("*/state-*.safetensors")]
    if others := [p for p in found if not re.match(r"\.|epoch-|damaged-", p.name)]:
        raise ValueError(
            f"{folder} holds {one_line(others[0].relative_to(folder))}, and nothing named "
            "state-EPOCHS-STEP.safetensors; expected states of one run. Give that file its old "
            "name, or the folder in which it lies, or another weights_dir."
        )
    return None


def find_latest(weights_dir: str | Path) -> Path | None:
    """Return the path of the state that `find_newest` finds, or None."""
    found = find_newest(weights_dir)
    return found and found[0]


def read_about(path: str | Path) -> dict:
    """Return what a saved state says of itself; raises as `read`."""
    return read(path)[1]


def set_aside(latest: Path) -> None:
    """Rename the damaged states newer than `latest` to `damaged-…`, so that none is overwritten."""
    for path in _states(latest.parent):
        if _place(path) > _place(latest):
            with suppress(OSError):
                path.rename(path.with_name(f"damaged-{path.name}"))


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Name every variable of a training model; the averages can be found without an optimizer."""
    named = {f"weights/{variable.path}": variable for variable in model.variables}
    for variable, average in zip(model.trainable_variables, averages(model), strict=True):
        named[f"averages/{variable.path}"] = average
    stored = {id(average) for average in averages(model)}
    for slot in model.optimizer.variables:
        if id(slot) not in stored:
            # The first part of a path is the optimizer's own name, which changes at every compile.
            named[f"optimizer/{slot.path.split('/', 1)[-1]}"] = slot
    return named


def restore(into: dict[str, keras.Variable], tensors: dict[str, np.ndarray], path: Path) -> None:
    """Put a saved state into `variables(model)`, after all have been found to fit."""
    kind = next(iter(into)).split("/")[0] + "/"
    for key in [*into, *(key for key in tensors if key.startswith(kind))]:
        saved = tensors[key].shape if key in tensors else "nothing"
        expected = tuple(into[key].shape) if key in into else "nothing"
        if saved != expected:
            raise ValueError(
                f"{path} is of another network: at {one_line(key)} it holds {one_line(saved)}, and "
                f"the model holds {expected}. Build the model with the same make_model arguments."
            )
    for key, variable in into.items():
        variable.assign(tensors[key])


def load_averages(model: keras.Model, tensors: dict[str, np.ndarray], path: Path) -> keras.Model:
    """Put the averaged weights of a state or a shipped file into a model, and return it."""
    # A layer that was frozen has weights and no average of them.
    plain = {key.replace("weights/", "averages/", 1): value for key, value in tensors.items()}
    restore({f"averages/{v.path}": v for v in model.weights}, plain | tensors, path)
    return model


def adopt(copy: keras.Model, model: keras.Model) -> keras.Model:
    """Give a network the weights of one that sees less; the weights of what is new become zero."""
    known = {weights.path: keras.ops.convert_to_numpy(weights) for weights in model.weights}
    for new in copy.weights:
        weights = np.zeros(new.shape, np.float32)
        if (old := known.get(new.path)) is not None:
            weights[tuple(map(slice, old.shape))] = old
        new.assign(weights)
    return copy


def weights_digest(model) -> str:
    """Return twelve digits that tell a network's weights from others: results belong to weights."""
    content = b"".join(weights.tobytes() for weights in model.get_weights())
    return hashlib.sha256(content).hexdigest()[:12]


def export(model: keras.Model, path: str | Path) -> None:
    """Write the weights that the model holds now as float16, for shipping.

    With its settings, and the configuration of its run, where it knows that.
    """
    with np.errstate(over="ignore"):
        tensors = {f"averages/{v.path}": np.asarray(v).astype(np.float16) for v in model.weights}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(
                f"{name.removeprefix('averages/')} holds a number that float16 does not; expected "
                "weights from -65,504 to 65,504."
            )
    about = {name: getattr(model, name, {}) for name in ("settings", "configuration")}
    write_atomically(Path(path), pack(tensors, about))


def _states(folder):
    """Return the paths of a folder that are named like states, the oldest first."""
    name = r"state-\d+-\d+\.safetensors"
    return sorted((p for p in folder.glob("state-*") if re.fullmatch(name, p.name)), key=_place)


def _place(path):
    return tuple(int(number) for number in re.findall(r"\d+", path.name))
