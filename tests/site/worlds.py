"""What the tests of the worlds share: a world under the hand, and a call of its mathematics."""

from itertools import pairwise


class World:
    """A world on its page: what it says, what it shows, and what moves it."""

    def __init__(self, page, name):
        self.page = page
        self.box = page.locator(f"[data-live-world={name}]")
        self.sentence = self.box.get_by_role("status")
        self.box.locator(".live-status:not(:empty)").wait_for()

    def canvas(self, number=0):
        return self.box.locator("canvas").nth(number)

    def seen(self, number=0):
        """The sentence, what a canvas says of itself, and its picture; all change together."""
        canvas = self.canvas(number)
        picture = canvas.evaluate("canvas => canvas.toDataURL()")
        return self.sentence.inner_text(), canvas.get_attribute("aria-label"), picture

    def drag(self, number, *places):
        """Drag over a canvas, through places that are shares of its width and height."""
        canvas, mouse = self.canvas(number), self.page.mouse
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        for i, (x, y) in enumerate(places):
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                mouse.down()
        mouse.up()


def call(page, module, expression, *values):
    """Return what JavaScript makes of an expression, with `m` a module and `v` the values."""
    script = f"async v => {{ const m = await import('./live/{module}.js'); return {expression}; }}"
    return page.evaluate(script, values)


def assert_all_different(*states):
    """Fail unless every part of what was seen changed from each state to the next."""
    for before, after in pairwise(states):
        assert [a for a, b in zip(before, after, strict=True) if a == b] == []
