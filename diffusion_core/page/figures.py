"""Figures of the book: pictures, curves, and the stepper that works on the page without a kernel.

Pictures are written into the page as data, with alt text, at their own size and scaled up by the
browser without smoothing, so that every pixel stays visible. All functions take pictures as uint8,
or as floats around [-1, 1], of one channel (grey), three, or four (the last is how opaque).
"""

import base64
import hashlib
import html
import io
import json
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from diffusion_core.checks import COUNT
from diffusion_core.data import denormalize
from diffusion_core.schedule import Schedule

WIDEST = 688  # the column of the page
TALLEST = 480  # so that a picture and its slider share a screen
_steppers = Counter()


def begin_page() -> None:
    """Count the steppers anew, so that the same notebook gives the same page."""
    _steppers.clear()


def image_grid(images: np.ndarray, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """Lay pictures `(n, height, width, channels)` out as one, row by row, with white gaps.

    Gaps are one pixel wide. `columns` are the pictures a row, the nearest to a square when None.
    The result is uint8 `(rows * (height + 1) - 1, columns * (width + 1) - 1, 3)`, both sides times
    `scale`.
    """
    images = _as_pixels(images)
    if images.ndim != 4 or images.shape[3] != 3 or len(images) == 0:
        raise ValueError(
            f"images have the shape {images.shape}; expected (n, height, width, channels) with 1, "
            "3 or 4 channels."
        )
    n, height, width, _ = images.shape
    columns = _columns(columns, n)
    scale = COUNT("scale", scale)
    rows = -(-n // columns)
    gaps = [(0, rows * columns - n), (0, 1), (0, 1), (0, 0)]
    grid = np.pad(images, gaps, constant_values=255)
    grid = grid.reshape(rows, columns, height + 1, width + 1, 3).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + 1), columns * (width + 1), 3)[:-1, :-1]
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def png_bytes(picture: np.ndarray) -> bytes:
    """Return a uint8 picture `(height, width, 3)` as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif_bytes(frames: list[np.ndarray]) -> bytes:
    """Return uint8 pictures `(height, width, 3)` as the content of a GIF that shows them in turn.

    Each stays a tenth of a second, and the last for two.
    """
    buffer = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    duration = [100] * len(others) + [2000]  # in milliseconds
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return buffer.getvalue()


def figure_pixels(figure: Figure) -> np.ndarray:
    """Draw a matplotlib figure, close it, and return it as uint8 `(height, width, 3)`."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def show_images(images: np.ndarray, alt: str, columns: int | None = None) -> HTML:
    """Show pictures in rows of `columns`, the nearest to a square when None.

    What stands in one column stays together: on a narrow screen the last columns go below the first
    ones. `alt` is for readers who cannot see it.
    """
    columns = _columns(columns, len(images))
    used = max(1, min(columns, len(images)))
    grids = [image_grid(images[at::columns], columns=1) for at in range(used)]
    return _side_by_side(grids, [f"column {at}" for at in range(1, used + 1)], alt)


def strip(images: np.ndarray, labels: list[str], alt: str) -> HTML:
    """Show pictures side by side with a label under each; the row wraps where it is too long.

    Each is 96 pixels wide at least, and up to 160 where few share the column of the page.
    """
    _check_labels(images, labels)
    return _side_by_side(_as_pixels(images), labels, alt, captions=True)


def stepper(frames: np.ndarray | list[np.ndarray], labels: list[str], alt: str) -> HTML:
    """Show one of several pictures `(height, width, channels)`, and a slider that chooses which.

    Works in a static page, in Jupyter and in Colab, by mouse, touch and keyboard, with no kernel:
    the frames are part of what is shown. (The book's site moves them into a file beside the page.)
    The label of the frame that is shown is added to `alt`.
    """
    shapes = {np.shape(frame) for frame in frames}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise ValueError(
            f"frames have the shapes {shapes}; expected one: (height, width, channels)."
        )
    _check_labels(frames, labels)
    frames = [_data_uri(_as_pixels(frame)) for frame in frames]
    # The content names the element; of equal ones, every later one is numbered.
    name = "stepper-" + hashlib.sha256("".join([*frames, *labels, alt]).encode()).hexdigest()[:12]
    _steppers[name] += 1
    name += f"-{_steppers[name]}" if _steppers[name] > 1 else ""
    height, width, _ = next(iter(shapes))
    # "</" inside a script would end it early.
    data = json.dumps({"frames": frames, "labels": labels, "alt": alt}).replace("</", "<\\/")
    return HTML(f"""
<div id="{name}" class="stepper" style="max-width:{_display_width(width, height)}px">
<img src="{frames[0]}" alt="{html.escape(f"{alt}: {labels[0]}")}" width="{width}" height="{height}"
 style="width:100%;height:auto;image-rendering:pixelated;background:white">
<label style="display:block"><input type="range" min="0" max="{len(frames) - 1}" value="0"
 aria-label="{html.escape(alt)}" aria-valuetext="{html.escape(labels[0])}" style="width:100%">
<output aria-live="off">{html.escape(labels[0])}</output></label>
</div>
<script>
(() => {{
  const data = {data};
  const root = document.getElementById("{name}");
  const slider = root.querySelector("input");
  slider.addEventListener("input", () => {{
    const label = data.labels[slider.value];
    root.querySelector("img").src = data.frames[slider.value];
    root.querySelector("img").alt = data.alt + ": " + label;
    root.querySelector("output").textContent = label;
    slider.setAttribute("aria-valuetext", label);
  }});
}})();
</script>""")


def chart(
    xlabel: str, ylabel: str, panels: int = 1, height: float = 3.1
) -> tuple[Figure, Axes | np.ndarray]:
    """Return a figure as wide as the column of the page, and its axes; of several panels an array.

    Panels stand below one another and share the x-axis. `height` is that of the whole, in inches,
    where the width is 5.2: letters are large enough to be read on a phone, where it shrinks to
    about half.
    """
    figure, axes = plt.subplots(
        panels, sharex=True, figsize=(5.2, height), dpi=WIDEST / 5.2, layout="constrained"
    )
    for panel in np.atleast_1d(axes):
        panel.set_ylabel(ylabel)
        panel.grid(alpha=0.3)
    panel.set_xlabel(xlabel)
    return figure, axes


def plot_schedules(schedules: dict[str, Schedule]) -> Figure:
    """Plot signal and noise of named schedules against the share of the steps done."""
    figure, axes = chart("share of the steps done (0: pure noise, 1: clean)", "level")
    for number, (name, schedule) in enumerate(schedules.items()):
        way = np.arange(schedule.timesteps + 1) / schedule.timesteps
        axes.plot(way, schedule.noise, f"C{number}-", marker=".", label=f"{name}: noise")
        axes.plot(way, schedule.signal, f"C{number}--", label=f"{name}: signal")
    axes.legend(fontsize="small")
    return figure


def plot_histories(histories: dict[str, dict[str, list]], timesteps: int | None = None) -> Figure:
    """Plot the loss of named histories of `train` against the epoch.

    When `timesteps` is given, the loss is multiplied by it: the mean absolute error of the
    direction instead of that of one step, which is `1 / timesteps` of it.
    """
    figure, axes = chart("epoch", "loss" if timesteps is None else "loss / step size")
    for name, history in histories.items():
        axes.plot(history["epoch"], np.array(history["loss"]) * (timesteps or 1), label=name)
    axes.legend(fontsize="small")
    return figure


def _as_pixels(images):
    images = np.asarray(images)
    images = images if images.dtype == np.uint8 else denormalize(images)
    if images.ndim and images.shape[-1] == 1:
        return images.repeat(3, -1)
    if images.ndim and images.shape[-1] == 4:  # laid on white
        opaque = images[..., 3:] / 255
        return np.rint(images[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return images


def _columns(columns, n):
    return COUNT("columns", max(1, int(np.ceil(np.sqrt(n)))) if columns is None else columns)


def _check_labels(pictures, labels):
    if len(pictures) != len(labels):
        raise ValueError(f"there are {len(pictures)} pictures and {len(labels)} labels.")


def _display_width(width, height):
    """Return a whole multiple of `width`, so that pixels stay square: three to ten, if it fits."""
    return width * max(1, min(10, WIDEST // width, max(3, TALLEST // height)))


def _data_uri(picture):
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def _side_by_side(images, labels, alt, captions=False):
    width = max(96, min(160, (WIDEST // len(labels) - 2) // 32 * 32))
    cells = ""
    for image, label in zip(images, labels, strict=True):
        caption = '<figcaption style="font-size:0.8rem;line-height:1.2">'
        caption += f"{html.escape(label)}</figcaption>"
        cells += (
            f'<figure style="margin:0;padding:0;width:{width}px;text-align:center">'
            f'<img src="{_data_uri(image)}" alt="{html.escape(f"{alt}: {label}")}" '
            f'style="width:{width}px;max-width:100%;height:auto;image-rendering:pixelated;'
            f'background:white">{caption if captions else ""}</figure>'
        )
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:8px 2px">{cells}</div>')
