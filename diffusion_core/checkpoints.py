"""Saving and finding weights: nothing is lost when a session ends in the middle of a run.

A state is one safetensors file (numbers and text, no code): every weight, every optimizer slot,
the average, the step, the history and the seed. Shipped networks are smaller files with the
averaged weights alone, as float16.
"""

import json
import re
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from diffusion_core.classifier import make_classifier
from diffusion_core.files import drive_dir, write_atomically
from diffusion_core.model import make_model

FORMAT = 1
KEEP = 3
PRETRAINED = Path(__file__).parent / "pretrained"


def default_weights_dir() -> Path:
    """Return the folder for weights: on Google Drive when it is mounted, else `./weights`."""
    drive = drive_dir()
    return drive / "weights" if drive else Path("weights")


def save(
    model: keras.Model, weights_dir: str | Path, *, history: dict[str, list], seed: int
) -> Path:
    """Save the full state of a training model after an epoch, and keep the last `KEEP` states.

    Args:
        model: a model that `train` or `compile_model` prepared.
        weights_dir: the folder; it is made when missing.
        history: as `train` returns it; its length is the number of epochs done.
        seed: the run's seed.

    Returns:
        The path of the new file, `state-EPOCH.safetensors`. It is written whole or not at all.

    Raises:
        OSError: a folder that cannot be written, such as a file in its place.
    """
    folder = _folder(weights_dir)
    tensors = {f"weights/{v.path}": np.asarray(v) for v in model.weights}
    for number, variable in enumerate(model.optimizer.variables):
        # Optimizer names change with every compile, their order does not.
        tensors[f"optimizer/{number:04d}"] = np.asarray(variable)
    # The averages stand among the slots; these let them be read without an optimizer.
    for variable, average in zip(model.trainable_variables, model.optimizer.averages, strict=True):
        tensors[f"averages/{variable.path}"] = np.asarray(average)
    about = {
        "format": FORMAT,
        "settings": model.settings,
        "history": history,
        "seed": seed,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
    path = folder / f"state-{len(history['epoch']):06d}.safetensors"
    write_atomically(path, safetensors.numpy.save(tensors, {"about": json.dumps(about)}))
    for old in _states(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def find_latest(weights_dir: str | Path) -> Path | None:
    """Return the state with the most epochs in a folder; None when there is none yet."""
    states = _states(_folder(weights_dir))
    return states[-1] if states else None


def restore(model: keras.Model, path: str | Path) -> dict:
    """Put a saved state into a model that `compile_model` prepared, and return what is known of it.

    Returns:
        A dict with `settings`, `history`, `seed` and the versions that wrote the file.

    Raises:
        ValueError: the file is damaged, of another format, or of another network; the text names
            the first layer that differs. The model is then unchanged.
    """
    tensors, about = _read(path)
    slots = {f"optimizer/{i:04d}": v for i, v in enumerate(model.optimizer.variables)}
    variables = {f"weights/{v.path}": v for v in model.weights} | slots
    _assign(variables, tensors, path)
    return about


def read_about(path: str | Path) -> dict:
    """Return what a saved state says of itself: `settings`, `history`, `seed`, versions.

    Raises `ValueError` as `restore` does for a damaged file.
    """
    return _read(path)[1]


def load_weights_dir(weights_dir: str | Path) -> keras.Model:
    """Return the network of the latest state in a folder, with its averaged weights.

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
    """Return the trained classifier that comes with this package; see `make_classifier`."""
    path = PRETRAINED / "classifier" / "weights.safetensors"
    model = make_classifier()
    _assign({f"averages/{v.path}": v for v in model.weights}, _read(path)[0], path)
    return model


def load_history(name: str = "small") -> dict[str, list[float]]:
    """Return the training history of a network that comes with this package, as `train` does.

    Raises `ValueError` for an unknown name.
    """
    return json.loads(_shipped(name, "-history.json").read_text())["history"]


def export(model: keras.Model, path: str | Path) -> None:
    """Write the weights that the model holds now as float16, with its settings, for shipping."""
    tensors = {f"averages/{v.path}": np.asarray(v).astype(np.float16) for v in model.weights}
    about = {"format": FORMAT, "settings": getattr(model, "settings", {})}
    write_atomically(Path(path), safetensors.numpy.save(tensors, {"about": json.dumps(about)}))


def _shipped(name, ending):
    files = {path.name.removesuffix(ending): path for path in PRETRAINED.glob(f"*{ending}")}
    if name not in files:
        raise ValueError(
            f"there is no network {name!r}; expected one of {', '.join(sorted(files))}."
        )
    return files[name]


def _folder(weights_dir):
    folder = Path(weights_dir)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder for weights.")
    return folder


def _states(folder):
    return sorted(p for p in folder.glob("state-*.safetensors") if re.search(r"-\d{6}\.", p.name))


def _read(path):
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole saved state: {error}. Delete it.") from error
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {about.get('format')}; this version reads {FORMAT}. Update "
            "diffusion_core."
        )
    return tensors, about


def _load_network(path):
    tensors, about = _read(path)
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
