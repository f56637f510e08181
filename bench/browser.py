"""Measure the live generator of the built site: WebAssembly, one thread, in an installed Chromium.

    make book && .venv/bin/python bench/browser.py

Writes results/browser.json. "Loading" goes from the button to the first noise, with an empty cache;
the files come from this machine. Every other figure is the median of the rounds. Only a run on a
quiet machine is worth keeping.
"""

import statistics
import sys
from pathlib import Path

from recording import write_results

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "site"))

from conftest import CHROMIUM, NO_BROWSER, launch, serve  # noqa: E402

ROUNDS = 5
BOX = "[data-live-generator]"
# Runs in the page: presses the button and waits; milliseconds from the press to each event.
PRESS = """box => new Promise((resolve, reject) => {
    const start = performance.now();
    const times = {};
    new MutationObserver(() => {
        times[box.dataset.state === "drawing" ? "step" + box.dataset.step : box.dataset.state]
            ??= performance.now() - start;
        if (box.dataset.state === "done") resolve(times);
        if (box.dataset.state === "error") reject(box.querySelector(".live-error").textContent);
    }).observe(box, { attributes: true });
    box.querySelector("form").requestSubmit();
})"""


def main() -> None:
    if CHROMIUM is None:
        sys.exit(NO_BROWSER)
    with serve() as server, launch() as browser:
        rounds = [measure(browser, server.url) for _ in range(ROUNDS)]
        about = f"Chromium {browser.version}"
    rows = [
        {
            "what": f"{what}, WebAssembly, one thread, {about}",
            "seconds": round(statistics.median(round_[what] for round_ in rounds) / 1000, 2),
        }
        for what in rounds[0]
    ]
    write_results("browser", rows)


def measure(browser, url) -> dict[str, float]:
    page = browser.new_page()
    page.goto(f"{url}index.html?wasm", wait_until="domcontentloaded")
    page.locator(f"{BOX} [name=cars]").fill("16")
    cold = page.locator(BOX).evaluate(PRESS)
    page.locator(f"{BOX} [name=seed]").fill("2")
    warm = page.locator(BOX).evaluate(PRESS)
    page.close()
    return {
        "loading": cold["step0"],
        "16 cars in 16 steps, first run after loading": cold["done"] - cold["step0"],
        "16 cars in 16 steps, later run": warm["done"],
        "first step of 16 cars, first run after loading": cold["step1"] - cold["step0"],
        "first step of 16 cars, later run": warm["step1"],
    }


if __name__ == "__main__":
    main()
