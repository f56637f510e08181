"""Judge the built site in an installed Chromium: by Lighthouse, and by how fast it draws.

    make book lighthouse
    # On a busy machine:
    make lighthouse LIGHTHOUSE="--without-speed --results _build/lighthouse"
    python bench/built_site.py browser  # only a run on a quiet machine is worth keeping

`lighthouse` judges every page as on a desktop and as on a phone; it fails where a page scores below
95 for accessibility, best practices or search engines, or the start page or a chapter below 90 for
speed on a desktop. `browser` times the live generator, once it is loaded, by WebAssembly with one
thread: the median of the rounds. Each writes the file in results/ that has its name.
"""

import gzip
import json
import os
import re
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from recording import run_benches, write_results

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "site"))

import conftest  # noqa: E402
from conftest import SITE, launch, serve  # noqa: E402

LIGHTHOUSE = ROOT / "web" / "lighthouse" / "node_modules" / "lighthouse"
LEAST = {"accessibility": 95, "best-practices": 95, "seo": 95, "performance": 90}
ROUNDS = 5
BOX = "[data-live-generator]"
# Runs in the page: presses the button, and returns the milliseconds until the cars are done.
PRESS = """box => new Promise((resolve, reject) => {
    const start = performance.now();
    new MutationObserver(() => {
        if (box.dataset.state === "done") resolve(performance.now() - start);
        if (box.dataset.state === "error") reject(box.querySelector(".live-error").textContent);
    }).observe(box, { attributes: true });
    box.querySelector("form").requestSubmit();
})"""


class Compressing(conftest.Handler):
    """Serve as GitHub Pages does: compressed, and to be kept for ten minutes."""

    def do_GET(self):  # noqa: N802
        path = Path(self.translate_path("/" + self.path.removeprefix(conftest.PREFIX)))
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


def lighthouse(arguments) -> None:
    categories = [name for name in LEAST if name != "performance" or not arguments.without_speed]
    # What 404.html is for is not to be found by search engines.
    names = sorted(page.name for page in SITE.glob("*.html") if page.name != "404.html")
    rows, poor = [], []
    with serve() as server:
        server.RequestHandlerClass = partial(Compressing, directory=SITE)
        for page in names:
            for device in ("desktop", "phone"):
                scores = judge(server.url + page, device, categories)
                rows.append({"page": page, "as on a": device, **scores})
                fast = device == "desktop" and re.match(r"index\.|\d\d-", page)
                asked = [name for name in categories if name != "performance" or fast]
                low = [name for name in asked if scores[name] < LEAST[name]]
                poor += [f"{page}, {name}: {scores[name]}" for name in low]
    version = json.loads((LIGHTHOUSE / "package.json").read_text())["version"]
    write_results("lighthouse", rows, arguments.results, lighthouse=version)
    if poor:
        sys.exit("Too low: " + "; ".join(poor))


def judge(url: str, device: str, categories: list[str]) -> dict[str, int | str]:
    """Return the scores of one page, of 100 each, and the audits that it does not half pass."""
    command = ["node", LIGHTHOUSE / "cli" / "index.js", url, "--output=json", "--quiet"]
    command += [f"--only-categories={','.join(categories)}"]
    command += ["--chrome-flags=--headless=new --no-sandbox"]
    command += ["--preset=desktop"] if device == "desktop" else []
    environment = os.environ | {"CHROME_PATH": conftest.CHROMIUM or sys.exit(conftest.NO_BROWSER)}
    answer = subprocess.check_output(command, env=environment, timeout=300)
    found = json.loads(answer)
    audits = {name: audit["score"] for name, audit in found["audits"].items()}
    weak = [name for name, score in audits.items() if score is not None and score < 0.5]
    scores = {name: round(100 * found["categories"][name]["score"]) for name in categories}
    print(url.split("/")[-1], device, scores, *weak, file=sys.stderr)
    return {**scores, "held back by": ", ".join(weak)}


def browser(arguments) -> None:
    with serve() as server, launch() as chromium:
        seconds = statistics.median(draw(chromium, server.url) for _ in range(ROUNDS)) / 1000
        about = f"WebAssembly, one thread, Chromium {chromium.version}"
    what = f"16 cars in 16 steps, later run, {about}"
    write_results("browser", [{"what": what, "seconds": round(seconds, 2)}], arguments.results)


def draw(chromium, url: str) -> float:
    """Draw twice on a new page, and return the milliseconds of the second time."""
    page = chromium.new_page()
    page.goto(f"{url}index.html?wasm", wait_until="domcontentloaded")
    page.locator(f"{BOX} [name=cars]").fill("16")
    for seed in (1, 2):
        page.locator(f"{BOX} [name=seed]").fill(str(seed))
        milliseconds = page.locator(BOX).evaluate(PRESS)
    page.close()
    return milliseconds


if __name__ == "__main__":
    busy = {"action": "store_true", "help": "lighthouse on a busy machine"}
    benches = {"lighthouse": lighthouse, "browser": browser}
    run_benches(benches, __doc__, part="without_speed", without_speed=busy)
