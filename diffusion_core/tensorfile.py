"""One file of named tensors and text: the safetensors format, with a checksum over every byte.

Such a file is numbers and JSON and no code, so reading one from a stranger runs nothing.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

FORMAT = 2
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
