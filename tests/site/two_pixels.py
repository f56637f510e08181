"""The worlds of two pixels of chapters 8, 9 and 11, once more in NumPy, and a hand on its box."""

import re

import numpy as np

u = np.linspace(-1, 1, 201)
CURVE = np.stack([0.8 * u, 0.6 * np.sin(4 * u)], axis=1)


def clean_guess(x, a, width, middles=CURVE):
    """The mean of all clean pictures, cloud by cloud: Gauss times Gauss is Gauss."""
    x = np.asarray(x, np.float64)
    clean, noise = 1 / width**2, (1 - a) / a**2
    means = (clean * middles + noise * x[:, None]) / (clean + (1 - a) * noise)
    exponents = -np.square(x[:, None] - (1 - a) * middles).sum(-1) / 2
    exponents /= ((1 - a) * width) ** 2 + a**2
    shares = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return (shares[..., None] * means).sum(1) / shares.sum(1)[:, None]


class World:
    """The box of a world in a page."""

    def __init__(self, page):
        self.page = page
        self.box = page.locator("[data-live-world]")
        self.canvas = self.box.get_by_role("img")
        self.canvas.wait_for()

    def call(self, function, *arguments, module):
        """Return what a function of a world's module returns; `function` is JavaScript."""
        module = f'await import("./live/worlds/{module}.js")'
        return self.page.evaluate(f"async (values) => ({function})({module}, ...values)", arguments)

    def sentence(self):
        """Return the sentence below the picture, which the picture says, too."""
        words = self.box.locator("[aria-live=polite]").inner_text()
        assert words in self.canvas.get_attribute("aria-label")
        return words

    def number(self, before):
        """Return the number that follows some words of the sentence."""
        return float(re.search(rf"{before} (-?\d+(\.\d+)?)", self.sentence()).group(1))

    def picture(self):
        return self.canvas.evaluate("canvas => canvas.toDataURL()")

    def slide(self, label, value):
        self.box.get_by_label(label).fill(str(value))

    def drag(self, start, end):
        """Drag over the picture, from one place to another; both count from 0 to 1."""
        self.canvas.scroll_into_view_if_needed()
        box = self.canvas.bounding_box()
        places = [
            (box["x"] + right * box["width"], box["y"] + down * box["height"])
            for right, down in (start, end)
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        self.page.mouse.move(*places[1])
        self.page.mouse.up()
