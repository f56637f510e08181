"""What every chapter starts with, and the controls that need a running kernel."""

import io
import json
import os
import time
from collections.abc import Callable
from importlib import resources

import ipywidgets
import keras
import numpy as np
from IPython.display import HTML, Markdown, display
from PIL import Image

from diffusion_core.page.figures import begin_page
from diffusion_core.runs.devices import device_names

_started = time.perf_counter()

_BOX = '<div style="border:2px solid {0};border-radius:4px;padding:8px 12px;margin:8px 0">{1}</div>'
_STAND_IN = """<strong>These are stand-in cars.</strong> CIFAR-10 was not used when this page was
made, so its cars were drawn by this book's own network. Numbers computed here differ from those for
real cars."""


def begin_chapter() -> str:
    """Show the machine, the versions and the data of this run, and return its budget.

    The budget is "full" where there is a GPU, else "quick", which keeps every chapter under two
    minutes on two cores. The environment variable `SIMPLE_DIFFUSION_BUDGET` overrides the choice.
    """
    global _started
    _started = time.perf_counter()
    begin_page()
    gpus = device_names("gpu")
    budget = os.environ.get("SIMPLE_DIFFUSION_BUDGET") or ("full" if gpus else "quick")
    if budget not in ("quick", "full"):
        raise ValueError(f'SIMPLE_DIFFUSION_BUDGET is {budget!r}; expected "quick" or "full".')
    machine = f"{len(gpus)} GPU" if gpus else f"{os.cpu_count()} CPU cores"
    backend = keras.backend.backend()
    print(f"budget: {budget} · {machine} · Keras {keras.__version__} on {backend}")
    if os.environ.get("CIFAR10_DIR") == "stand-in":
        display(HTML(_BOX.format("#d97706", _STAND_IN)))
    return budget


def end_chapter() -> None:
    """Print how long the chapter took since `begin_chapter`."""
    minutes, seconds = divmod(round(time.perf_counter() - _started), 60)
    print(f"this chapter took {minutes} min {seconds} s on {os.cpu_count()} CPU cores")


def recorded(name: str) -> dict | np.ndarray:
    """Return what a long command once measured; the files stand in `bench/results/`.

    "evaluation" is the content of `evaluation.json`; a name that ends in ".png" is the picture,
    uint8 `(height, width, 3)`. Raises `ValueError` when nothing of that name was recorded.
    """
    is_picture = name.endswith(".png")
    file = resources.files("diffusion_core.results") / (name if is_picture else f"{name}.json")
    if not file.is_file():
        raise ValueError(f"nothing is recorded as {file.name}; see the commands in bench/.")
    content = file.read_bytes()
    if is_picture:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return json.loads(content)


def table(rows: list[dict], columns: list[str] | None = None) -> Markdown:
    """Return dicts from column to value, such as the rows of `recorded`, as a table for the page.

    It shows these columns, or all of the first row when None.
    """
    columns = columns or list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[name] for name in columns] for row in rows)]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def explore(function: Callable, **controls) -> None:
    """Call `function` whenever a control moves, and show what it returns; needs a running kernel.

    There is one control of ipywidgets, or an abbreviation such as `(0, 10)`, for each argument. The
    book's page leaves such cells out. Its build sets `SIMPLE_DIFFUSION_STATIC`, and then the
    first values are tried, and an error stops the build.
    """
    widget = ipywidgets.interactive(function, **controls)
    if not os.environ.get("SIMPLE_DIFFUSION_STATIC"):
        display(widget)
        return
    *inputs, _ = widget.children
    values = (control.value for control in inputs)
    function(**dict(zip(controls, values, strict=True)))
