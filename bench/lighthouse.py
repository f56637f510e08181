"""Let Lighthouse judge every page of the built site, as on a desktop and as on a phone.

    make book lighthouse
    # On a busy machine:
    make lighthouse LIGHTHOUSE="--without-speed --results _build/lighthouse"

Writes results/lighthouse.json, and fails where a page scores below 95 for accessibility, best
practices or search engines, or the start page or a chapter below 90 for speed on a desktop. Other
speeds are told only.
"""

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from recording import RESULTS, keep_whole, write_results

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "site"))

from conftest import CHROMIUM, NO_BROWSER, PREFIX, SITE, Handler  # noqa: E402

FOLDER = ROOT / "web" / "lighthouse" / "node_modules" / "lighthouse"
LEAST = {"accessibility": 95, "best-practices": 95, "seo": 95, "performance": 90}
SECONDS = 300


class Compressing(Handler):
    """Serve as GitHub Pages does: compressed, and to be kept for ten minutes."""

    def do_GET(self):  # noqa: N802
        path = Path(self.translate_path("/" + self.path.removeprefix(PREFIX)))
        if not path.is_file():
            self.send_error(404)
            return
        content = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    # What 404.html is for is not to be found by search engines.
    pages = sorted(page.name for page in SITE.glob("*.html") if page.name != "404.html")
    parser.add_argument("pages", nargs="*", default=pages, help="such as index.html")
    parser.add_argument("--without-speed", action="store_true", help="for a busy machine")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder")
    arguments = parser.parse_args()
    for page in arguments.pages:
        if page not in pages:
            parser.error(f"the site has no {page}.")
    if arguments.without_speed or arguments.pages != pages:
        keep_whole(parser, arguments.results)
    if CHROMIUM is None:
        sys.exit(NO_BROWSER)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Compressing, directory=SITE))
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
    categories = [name for name in LEAST if name != "performance" or not arguments.without_speed]
    rows = [
        {"page": page, "as on a": device, **judge(url + page, device, categories)}
        for page in arguments.pages
        for device in ("desktop", "phone")
    ]
    server.shutdown()
    version = json.loads((FOLDER / "package.json").read_text())["version"]
    write_results("lighthouse", rows, arguments.results, lighthouse=version)
    poor = [
        f"{row['page']}, {name}: {row[name]}"
        for row in rows
        for name in categories
        if row[name] < LEAST[name] and (name != "performance" or must_be_fast(row))
    ]
    if poor:
        sys.exit("Too low: " + "; ".join(poor))


def must_be_fast(row: dict) -> bool:
    return row["as on a"] == "desktop" and bool(re.match(r"index\.|\d\d-", row["page"]))


def judge(url: str, device: str, categories: list[str]) -> dict[str, int | str]:
    """Return the scores of one page, of 100 each, and the audits that it does not half pass."""
    command = ["node", FOLDER / "cli" / "index.js", url, "--output=json", "--quiet"]
    command += [f"--only-categories={','.join(categories)}"]
    command += ["--chrome-flags=--headless=new --no-sandbox"]
    command += ["--preset=desktop"] if device == "desktop" else []
    environment = {**os.environ, "CHROME_PATH": CHROMIUM}
    answer = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, timeout=SECONDS, check=True
    )
    found = json.loads(answer.stdout)
    audits = {name: audit["score"] for name, audit in found["audits"].items()}
    weak = [name for name, score in audits.items() if score is not None and score < 0.5]
    scores = {name: round(100 * found["categories"][name]["score"]) for name in categories}
    print(url.split("/")[-1], device, scores, *weak, file=sys.stderr)
    return {**scores, "held back by": ", ".join(weak)}


if __name__ == "__main__":
    main()
