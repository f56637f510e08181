"""Print the built site to one PDF, in the order of the table of contents.

python tools/print_book.py _build/simple-diffusion.pdf
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from pypdf import PdfWriter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import BASE, ROOT, launch, load_pictures, opening, serve

# Links on paper lead to the book on the web.
PREPARE = """([here, web]) =>
    document.querySelectorAll("a[href]").forEach((a) => { a.href = a.href.replace(here, web); })"""


def main(target: Path) -> None:
    """Print every page of the table of contents."""
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    with serve() as server, launch() as browser, opening(browser, server) as open_page:
        print_pages(open_page, server.url, [contents["root"], *chapters], target)


def print_pages(open_page: Callable, home: str, names: list[str], target: Path) -> None:
    """Print some pages of the site at `home`, by their names, each with a bookmark."""
    book = PdfWriter()
    for name in names:
        page = open_page(f"{name}.html")
        page.evaluate(PREPARE, [home, f"{BASE}/"])
        load_pictures(page)
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        printed = page.pdf(format="A4", margin=margin, scale=0.75)
        book.append(io.BytesIO(printed), outline_item=page.title().split(" — ")[0])
        page.context.close()
    book.write(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
