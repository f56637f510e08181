"""Weigh every page of the built site: what a browser fetches before the reader scrolls or draws.

    make book && .venv/bin/python bench/pages.py

Writes results/pages.json. Every file counts as gzip leaves it, since a server sends it like that.
"""

import gzip
import sys
from pathlib import Path

from recording import write_results

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import CHROMIUM, NO_BROWSER, SITE, launch, opening, serve, weigh


def main() -> None:
    if CHROMIUM is None:
        sys.exit(NO_BROWSER)
    rows = []
    with serve() as server, launch() as browser, opening(browser, server) as open_page:
        for file in sorted(SITE.glob("*.html")):
            page = open_page(file.name, viewport={"width": 1280, "height": 800})
            rows.append(
                {
                    "page": file.name,
                    "requests": len(page.requested),
                    "kB": round(weigh(page, server) / 1000),
                    "kB of them in the page itself": round(
                        len(gzip.compress(file.read_bytes())) / 1000
                    ),
                }
            )
            page.context.close()
        about = f"Chromium {browser.version}"
    write_results("pages", rows, browser=about)


if __name__ == "__main__":
    main()
