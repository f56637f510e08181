"""Time the live generator of the built site in an installed Chromium: results/browser.json.

    python bench/built_site.py      # after `make book`; only on a quiet machine worth keeping

By WebAssembly with one thread, once it is loaded: the median of the rounds.
"""

import statistics
import sys
from pathlib import Path

from recording import run_benches, write_results

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import launch, serve

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


if __name__ == "__main__":
    run_benches([browser], __doc__)
