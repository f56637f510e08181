"""Photograph every page of the built site (desktop and phone, light and dark), and one drawing.

python tools/screenshots.py _build/screenshots
"""

import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import SITE, launch, load_pictures, opening, serve

VIEWS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}
# Chromium draws no taller pictures than this.
TALLEST = 16_000


def main(folder: Path) -> None:
    """Write PAGE-desktop-light.png and its three siblings for every page, and the generator's."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve() as server, launch() as browser, opening(browser, server) as open_page:
        files = sorted(SITE.glob("*.html"))
        for file, (view, size), scheme in product(files, VIEWS.items(), ("light", "dark")):
            page = open_page(file.name, viewport=size, color_scheme=scheme)
            load_pictures(page)
            height = page.evaluate("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height, TALLEST)}
            name = f"{file.stem}-{view}-{scheme}.png"
            page.screenshot(path=folder / name, full_page=True, clip=clip)
            page.context.close()
        page = open_page("index.html")
        box = page.locator("[data-live-generator]")
        box.get_by_role("button", name="Draw", exact=True).click()
        page.locator("[data-live-generator][data-state=done]").wait_for()
        for step in range(17):  # from noise to finished
            box.locator("[name=step]").fill(str(step))
            box.screenshot(path=folder / f"generator-{step:02d}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
