"""Time the live boxes of the built site in an installed Chromium.

    python bench/built_site.py      # after `make book`; only on a quiet machine worth keeping

`browser` times the generator, on the start page and in chapter 6, `pad` the nine cars of chapter 10
under a moving hand, `easel` the answers of chapter 12, all by WebAssembly with one thread, once it
is loaded; `worlds` the start of every world. Each writes the file in results/ of that name: the
median of the rounds.
"""

import re
import statistics
import sys
import time
from pathlib import Path

from recording import run_benches, write_results

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "site"))

from conftest import SITE, launch, serve

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
# Runs in the page: starts a world, and returns the milliseconds until it shows and says something.
START = """async (root) => {
    const { mount } = await import(`./live/worlds/${root.dataset.liveWorld}.js`);
    root.replaceChildren();
    const start = performance.now();
    mount(root);
    const isDrawn = (canvas) => {
        const { width, height } = canvas;
        const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        return pixels.some((value) => value);
    };
    for (;;) {
        const passed = performance.now() - start;
        const says = root.querySelector(".live-status").textContent;
        if (says && [...root.querySelectorAll("canvas")].some(isDrawn)) return passed;
        if (passed > 10_000) throw new Error(`${root.dataset.liveWorld} does not start`);
        await new Promise(requestAnimationFrame);
    }
}"""
NETWORK_CAME = """() => performance.getEntriesByType("resource")
    .some(({ name }) => /\\/ort\\/|\\.onnx$/.test(name))"""

# Runs in the page: counts the tasks of 50 milliseconds and more.
WATCH = """() => {
    window.long = 0;
    new PerformanceObserver((list) => { long += list.getEntries().length; })
        .observe({ type: "longtask" });
}"""


def browser(arguments) -> None:
    """Draw twice on a new page for each round; the second time counts."""
    rows = []
    with serve() as server, launch() as chromium:
        for name in ("index.html", "06-sampling.html"):
            times = []
            for _ in range(ROUNDS):
                page, fetched = chromium.new_page(), []
                page.on("request", lambda request, fetched=fetched: fetched.append(request.url))
                page.goto(f"{server.url}{name}?wasm", wait_until="domcontentloaded")
                for seed in ("1", "2"):
                    page.locator(f"{BOX} [name=seed]").fill(seed)
                    milliseconds = page.locator(BOX).evaluate(PRESS)
                times.append(milliseconds / 1000)
                what = page.locator(f"{BOX} .live-status").inner_text().split(": ")[1]
                sizes = page.request.get(f"{server.url}live/files.json").json()["bytes"]
                page.close()
            urls = {url.partition("/live/")[2] for url in fetched}
            row = {"page": name, "what": what.rsplit(", in ", 1)[0]}
            row["seconds"] = round(statistics.median(times), 2)
            rows.append(row | {"bytes of the box": sum(sizes.get(url, 0) for url in urls)})
    about = {"browser": f"WebAssembly, one thread, Chromium {chromium.version}"}
    write_results("browser", rows, arguments.results, **about)


def pad(arguments) -> None:
    """Move over the pad for five seconds; count the redraws, and the tasks that stop the page."""
    rates, tasks = [], []
    with serve() as server, launch() as chromium:
        for _ in range(ROUNDS):
            page = chromium.new_page()
            page.goto(f"{server.url}10-jumps.html?wasm", wait_until="domcontentloaded")
            box = page.locator("[data-live-world=pad]")
            box.get_by_role("button", name="Begin").click()
            box.get_by_text("in 4 steps").wait_for()
            page.evaluate(WATCH)
            rates.append(answers_while_moving(page, box, box.locator("canvas").nth(1)))
            tasks.append(page.evaluate("long"))
            page.close()
    row = {
        "what": "nine cars in two steps, redrawn while the hand moves",
        "redraws a second": round(statistics.median(rates), 1),
        "tasks of 50 milliseconds and more": sum(tasks),
        "browser": f"WebAssembly, one thread, Chromium {chromium.version}",
    }
    write_results("pad", [row], arguments.results)


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
            rates[4].append(answers_while_moving(page, page.locator(EASEL), sheet))
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


def answers_while_moving(page, box, canvas) -> float:
    """Draw a line on a canvas for five seconds; return how often a second the box answers."""
    canvas.scroll_into_view_if_needed()
    place = canvas.bounding_box()
    before, start = int(box.get_attribute("data-drawn")), time.perf_counter()
    page.mouse.move(place["x"] + 1, place["y"] + 1)
    page.mouse.down()
    while (passed := time.perf_counter() - start) < 5:
        across, down = passed / 5, 0.2 + 0.6 * (passed % 1)
        page.mouse.move(place["x"] + place["width"] * across, place["y"] + place["height"] * down)
        page.wait_for_timeout(10)
    drawn = int(box.get_attribute("data-drawn")) - before
    page.mouse.up()
    return drawn / passed


def worlds(arguments) -> None:
    """Start every world on a new page for each round, without its network."""
    rows = []
    with serve() as server, launch() as chromium:
        for path in sorted(SITE.glob("*.html")):
            for name in re.findall('data-live-world="(.+?)"', path.read_text()):
                times = []
                for _ in range(ROUNDS):
                    page = chromium.new_page()
                    page.route("**/live/world.js", lambda route: route.abort())
                    page.goto(server.url + path.name)
                    times.append(page.locator(f"[data-live-world={name}]").evaluate(START))
                    assert not page.evaluate(NETWORK_CAME), f"{name} loads the network at its start"
                    page.close()
                milliseconds = round(statistics.median(times))
                rows.append({"world": name, "page": path.stem, "milliseconds": milliseconds})
        about = {"browser": f"Chromium {chromium.version}"}
    write_results("worlds", rows, arguments.results, **about)


if __name__ == "__main__":
    run_benches([browser, pad, easel, worlds], __doc__)
