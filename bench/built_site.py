"""Time the live boxes of the built site in an installed Chromium.

    python bench/built_site.py      # after `make book`; only on a quiet machine worth keeping

`browser` times the generator, `easel` the answers of chapter 12, each into the file in results/ of
that name. By WebAssembly with one thread, once it is loaded: the median of the rounds.
"""

import statistics
import sys
import time
from pathlib import Path

from recording import run_benches, write_results

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import launch, serve

ROUNDS = 5
BOX = "[data-live-generator]"
EASEL = "[data-live-world=easel]"
# Runs in the page: presses the button, and returns the milliseconds until the cars are done.
PRESS = """box => new Promise((resolve, reject) => {
    const start = performance.now();
    new MutationObserver(() => {
        if (box.dataset.state === "done") resolve(performance.now() - start);
        if (box.dataset.state === "error") reject(box.querySelector(".live-error").textContent);
    }).observe(box, { attributes: true });
    box.querySelector("form").requestSubmit();
})"""


def browser(arguments) -> None:
    """Draw twice on a new page for each round; the second time counts."""
    times = []
    with serve() as server, launch() as chromium:
        for _ in range(ROUNDS):
            page = chromium.new_page()
            page.goto(f"{server.url}index.html?wasm", wait_until="domcontentloaded")
            page.locator(f"{BOX} [name=cars]").fill("16")
            for seed in ("1", "2"):
                page.locator(f"{BOX} [name=seed]").fill(seed)
                milliseconds = page.locator(BOX).evaluate(PRESS)
            times.append(milliseconds / 1000)
            page.close()
        what = "16 cars in 16 steps, later run, WebAssembly, one thread, Chromium "
        what += chromium.version
    row = {"what": what, "seconds": round(statistics.median(times), 2)}
    write_results("browser", [row], arguments.results)


def easel(arguments) -> None:
    """Draw a line for five seconds, and then rest; count what the easel answered."""
    rates = {4: [], 16: []}
    with serve() as server, launch() as chromium:
        for _ in range(ROUNDS):
            page = chromium.new_page()
            page.goto(f"{server.url}12-editing.html?wasm", wait_until="domcontentloaded")
            sheet = page.locator(f"{EASEL} canvas").first
            sheet.click()
            page.locator(f"{EASEL}[data-steps='16']").wait_for()
            left, top = (sheet.bounding_box()[name] for name in ("x", "y"))
            before, start = answers(page), time.perf_counter()
            page.mouse.move(left, top)
            page.mouse.down()
            while (passed := time.perf_counter() - start) < 5:
                page.mouse.move(left + 40 * passed, top + 100 + 90 * (passed % 1))
                page.wait_for_timeout(10)
            rates[4].append((answers(page) - before) / passed)
            page.mouse.up()
            page.locator(f"{EASEL}[data-steps='4']").wait_for()
            page.locator(f"{EASEL}[data-steps='16']").wait_for()
            milliseconds = page.locator(EASEL).get_attribute("data-milliseconds")
            rates[16].append(1000 / float(milliseconds))
            page.close()
        about = {"browser": f"WebAssembly, one thread, Chromium {chromium.version}"}
    rows = [
        {"steps": steps, "redraws of four pictures a second": round(statistics.median(found), 1)}
        for steps, found in rates.items()
    ]
    write_results("easel", rows, arguments.results, **about)


def answers(page) -> int:
    """Return how often the easel has answered."""
    return int(page.locator(EASEL).get_attribute("data-drawn"))


if __name__ == "__main__":
    run_benches([browser, easel], __doc__)
