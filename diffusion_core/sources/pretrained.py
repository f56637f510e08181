"""What comes with the package: networks, their history, and where they lie."""

import json
import os
from pathlib import Path

from diffusion_core.checks import short_repr

PRETRAINED = Path(__file__).parent.parent / "pretrained"
GUIDE = "small-epoch-050"  # the earlier epoch by which "small" draws best: bench/guidance.py
GUIDES = {"small": GUIDE, "ten": "ten-epoch-005"}


def load_history(name: str = "small") -> dict[str, list[float]]:
    """Return the training history of a network that comes with this package, as `train` does.

    Raises `ValueError` for an unknown name.
    """
    return json.loads(find(name, "-history.json").read_text())["history"]


def find(name: str, ending: str = ".safetensors") -> Path:
    """Return the file of a shipped network; raise `ValueError`, which lists those there are."""
    files = {path.name.removesuffix(ending): path for path in PRETRAINED.glob(f"*{ending}")}
    if not isinstance(name, str) or name not in files:
        raise ValueError(
            f"there is no network {short_repr(name)}; expected one of {', '.join(sorted(files))}."
        )
    return files[name]


def find_network(name: str | Path) -> Path:
    """Return the file of a shipped network, or the file or folder of one's own of this name."""
    try:
        return find(name)
    except ValueError as error:
        # `os.path`, for which a name that is too long for a file is no file either.
        if isinstance(name, (str, Path)) and os.path.exists(os.path.expanduser(name)):
            return Path(os.path.expanduser(name))
        raise ValueError(f"{error} A file or a folder of `train` will do as well.") from None
