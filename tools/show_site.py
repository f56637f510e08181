"""Print the built site to one PDF, or photograph its pages; for those who look it through.

    python tools/show_site.py pdf _build/simple-diffusion.pdf
    python tools/show_site.py screenshots _build/screenshots

The PDF is in the order of the table of contents. Screenshots are of every page, on desktop and
phone, in light and dark: PAGE-desktop-light.png and its three siblings; and of one drawing:
generator-00.png, which is noise, to generator-16.png.
"""

import io
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import yaml
from pypdf import PdfWriter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import BASE, ROOT, SITE, launch, load_pictures, opening, serve

VIEWS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}
# Chromium draws no taller pictures than this.
TALLEST = 16_000
# Links on paper lead to the book on the web.
PREPARE = """([here, web]) =>
    document.querySelectorAll("a[href]").forEach((a) => { a.href = a.href.replace(here, web); })"""


def pdf(open_page: Callable, home: str, target: Path, names: list[str] | None = None) -> None:
    """Print some pages of the site at `home`, or all, each with a bookmark."""
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    book = PdfWriter()
    for name in names or [contents["root"], *chapters]:
        page = open_page(f"{name}.html")
        page.evaluate(PREPARE, [home, f"{BASE}/"])
        load_pictures(page)
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        printed = page.pdf(format="A4", margin=margin, scale=0.75)
        book.append(io.BytesIO(printed), outline_item=page.title().split(" — ")[0])
        page.context.close()
    book.write(target)


def screenshots(open_page: Callable, home: str, folder: Path) -> None:
    """Photograph every page, and a drawing at every step."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(SITE.glob("*.html"))
    for file, (view, size), scheme in product(files, VIEWS.items(), ("light", "dark")):
        page = open_page(file.name, viewport=size, color_scheme=scheme)
        load_pictures(page)
        height = page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height, TALLEST)}
        name = f"{file.stem}-{view}-{scheme}.png"
        page.screenshot(path=folder / name, full_page=True, clip=clip)
        page.context.close()
    page = open_page("06-sampling.html")
    box = page.locator("[data-live-generator]")
    box.get_by_role("button", name="Draw", exact=True).click()
    page.locator("[data-live-generator][data-state=done]").wait_for()
    for step in range(17):
        box.locator("[name=step]").fill(str(step))
        box.screenshot(path=folder / f"generator-{step:02d}.png")


if __name__ == "__main__":
    show = {"pdf": pdf, "screenshots": screenshots}[sys.argv[1]]
    with serve() as server, launch() as browser, opening(browser, server) as open_page:
        show(open_page, server.url, Path(sys.argv[2]))
