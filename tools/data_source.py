"""Print the CIFAR10_DIR that the book is built with.

A folder that is set stays; otherwise CIFAR-10 is looked for, and downloaded once when the
internet is there; "stand-in" is the last resort, and the pages say so.
"""

import os
import sys
from pathlib import Path


def main() -> str:
    """Return an absolute folder, "" (what the book loads is in a cache) or "stand-in"."""
    source = os.environ.get("CIFAR10_DIR", "")
    if source == "stand-in":
        return source
    if source:
        return str(Path(source).resolve())
    # Imported late, since TensorFlow takes seconds to start.
    from diffusion_core import load_cars, load_images

    try:
        for split in ("train", "test"):
            load_cars(split)
        load_images("truck", "test")
    except ConnectionError as error:
        print(f"{error}\nThe book is built with stand-in cars, and says so.", file=sys.stderr)
        return "stand-in"
    return ""


if __name__ == "__main__":
    print(main())
