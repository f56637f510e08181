"""Every page of the built site in a real browser: whole, quiet, for everyone, and on its own."""

import gzip
import sys
from functools import partial

import pypdf
import pytest
from conftest import BASE, ROOT, SITE, load_pictures, opening, serve

sys.path.insert(0, str(ROOT / "tools"))

from show_site import pdf

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
# Of the pages with source code one, since all come from one template.
PAGES = sorted(path.name for path in SITE.glob("*.html"))
PAGES += ["_modules/index.html", "_modules/diffusion_core/data.html"]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
LIGHT = 1_500_000
FONTS_CAME = "document.fonts.ready.then(f => [...f].every(f => f.status !== 'error'))"


@pytest.fixture(scope="module", params=PAGES)
def page(request, browser):
    """A page, opened once for all of its tests."""
    with serve() as server, opening(browser, server) as open_page:
        page = open_page(request.param, viewport=DESKTOP, has_touch=True)
        page.wait_for_load_state("load")
        page.server = server
        yield page


def violations(page):
    """Return what axe finds wrong with a page for people who cannot see it well, or at all."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    return page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(
            ({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 200)])"""
    )


def test_nothing_comes_from_elsewhere_or_fails_or_complains_and_the_first_view_is_light(page):
    assert page.requested
    strangers = [u for u in page.requested if not u.startswith((page.server.url, "data:"))]
    assert strangers == []
    assert page.refused == []
    assert page.complaints == []
    paths = {u.removeprefix(page.server.url).split("?")[0] for u in page.requested}
    files = [(SITE / (path or "index.html")).read_bytes() for path in paths]
    assert sum(len(gzip.compress(content)) for content in files) <= LIGHT


def test_all_mathematics_is_in_type(page):
    bare = page.locator("span.math:not(:has(mjx-container)), div.math:not(:has(mjx-container))")
    assert bare.count() == 0
    raw = page.evaluate(
        r"""() => {
            const article = document.querySelector("main").cloneNode(true);
            article.querySelectorAll("pre, code, script, style").forEach((e) => e.remove());
            return article.textContent.match(/\\[(\[]|\$[^$\n]+\$/g);
        }"""
    )
    assert raw is None
    # Letters come from the fonts of the site: every font that is asked for has come.
    assert page.evaluate(FONTS_CAME)


def test_every_stepper_moves_by_keyboard_mouse_and_finger(page):
    for stepper in page.locator(".stepper").all():
        slider, image = stepper.locator("input"), stepper.locator("img")
        stepper.scroll_into_view_if_needed()
        box = slider.bounding_box()
        right = {"x": box["width"] - 3, "y": box["height"] / 2}
        moves = (
            ("1", partial(slider.press, "ArrowRight")),
            (slider.get_attribute("max"), partial(slider.click, position=right)),
            (slider.get_attribute("max"), partial(slider.tap, position=right)),
        )
        for step, move in moves:
            slider.press("Home")
            before = image.get_attribute("src")
            move()
            assert slider.input_value() == step
            label = stepper.locator("output").inner_text()
            assert slider.get_attribute("aria-valuetext") == label
            assert image.get_attribute("alt").endswith(f": {label}")
            assert image.get_attribute("src") != before


def test_axe_finds_nothing_and_in_a_chapter_not_on_a_phone_in_the_dark_either(page):
    assert violations(page) == []
    page.set_viewport_size(PHONE)
    if page.locator(".stepper").count():
        page.emulate_media(color_scheme="dark")
        page.locator("html[data-theme=dark]").wait_for()
        page.wait_for_timeout(500)  # soon after a change of size the theme looks what scrolls
        assert violations(page) == []


def test_a_phone_needs_no_scrolling_sideways_and_pictures_keep_their_shape(page):
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for box in page.locator("[data-live-generator], [data-live-forward], [data-live-world]").all():
        assert box.evaluate("e => e.scrollWidth <= e.clientWidth")
        edges = box.bounding_box()
        assert 0 <= edges["x"] <= PHONE["width"] - edges["width"]
    load_pictures(page)
    shown, stretched = page.evaluate(
        """() => {
            const shown = [...document.querySelectorAll("article img")]
                .filter((i) => i.clientWidth && getComputedStyle(i).padding === "0px");
            const stretched = shown
                .filter(({ clientWidth, clientHeight, naturalWidth, naturalHeight }) =>
                    Math.abs(clientHeight - clientWidth * naturalHeight / naturalWidth) > 2);
            return [shown, stretched].map((images) => images.map((image) => image.alt));
        }"""
    )
    assert stretched == []
    assert bool(shown) == (page.locator("article img").count() > 0)


def open_folds(page):
    page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")


def test_no_box_scrolls_sideways_on_a_desktop_or_a_phone(page):
    open_folds(page)
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        scrolling = page.evaluate(
            """() => [...document.querySelectorAll("article *")]
                .filter((e) => e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1 &&
                    (e.matches("pre, table, mjx-container[display]") ||
                     ["auto", "scroll"].includes(getComputedStyle(e).overflowX)))
                .map(({ tagName, scrollWidth, clientWidth, textContent }) =>
                    [tagName, scrollWidth, clientWidth, textContent.trim().slice(0, 60)])"""
        )
        assert scrolling == [], size


def test_pictures_are_large_enough_to_see_and_charts_as_wide_as_the_column(page):
    open_folds(page)
    load_pictures(page)
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        # A chart that a slider turns is shown pixel by pixel, too, and is wider than any picture.
        pictures, charts = page.evaluate(
            """() => {
                const shown = [...document.querySelectorAll("article .cell_output img")]
                    .filter((image) => image.clientWidth);
                const isChart = (image) => image.naturalWidth >= 480 ||
                    getComputedStyle(image).imageRendering !== "pixelated";
                return [
                    shown.filter((image) => !isChart(image))
                        .map((i) => [i.clientWidth / i.naturalWidth * 32, i.alt]),
                    shown.filter(isChart).map((i) => [i.naturalWidth, i.alt]),
                ];
            }"""
        )
        assert [picture for picture in pictures if picture[0] < 96] == [], size
        assert [chart for chart in charts if not 600 <= chart[0] <= 720] == []


def test_the_search_finds_the_noise_schedule(open_page):
    page = open_page("search.html?q=noise+schedule")
    page.locator("#search-results a[href^='02-schedule.html']").first.wait_for()
    assert page.complaints == []


def test_an_unknown_address_has_a_way_past_the_menu_and_leads_back_to_the_book(open_page, server):
    address = server.url + "some/where/else.html"
    page = open_page("some/where/else.html", viewport=DESKTOP)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(server.url + "**#main-content")
    assert page.url == address + "#main-content"
    assert page.get_by_role("heading", name="There is no such page").is_visible()
    page.wait_for_load_state("networkidle")  # who leaves earlier refuses what is on its way
    # The page itself was refused, but nothing that belongs to it.
    assert page.refused == [address]
    page.get_by_role("link", name="first page").click()
    page.wait_for_url(server.url + "index.html")


def test_from_a_file_the_book_works_and_the_generator_says_what_it_needs(browser):
    page = browser.new_page()
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((SITE / "06-sampling.html").as_uri())
    stepper = page.locator(".stepper").first
    stepper.locator("input").press("ArrowRight")
    alt = stepper.locator("img").get_attribute("alt")
    assert alt.endswith(stepper.locator("output").inner_text())
    picture = page.locator("article img[src*=figures]").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.evaluate(FONTS_CAME)
    page.get_by_text("from a web server rather than from a file").wait_for()
    assert {url.split(":")[0] for url in requested} <= {"file", "data"}
    page.close()


def test_paper_is_white_and_holds_the_article_alone_and_less_motion_is_none(open_page):
    page = open_page("03-forward-noise.html", color_scheme="dark", reduced_motion="reduce")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].map((e) => getComputedStyle(e))
            .filter(({ transitionDuration, scrollBehavior }) =>
                parseFloat(transitionDuration) > 0 || scrollBehavior === "smooth").length"""
    )
    assert moving == 0
    page.emulate_media(media="print")
    for part in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".stepper input", ".copybtn"):
        assert not page.locator(part).first.is_visible(), part
    style = page.evaluate(
        "(({ backgroundColor, color }) => [backgroundColor, color])"
        "(getComputedStyle(document.body))"
    )
    assert style == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_the_book_on_paper_has_bookmarks_and_links_to_the_web(open_page, server, tmp_path):
    pdf(open_page, server.url, tmp_path / "book.pdf", ["02-schedule", "notation"])
    paper = pypdf.PdfReader(tmp_path / "book.pdf")
    assert [mark.title for mark in paper.outline] == ["2 · Schedule", "Notation"]
    assert "timesteps" in "".join(page.extract_text() for page in paper.pages)
    notes = [note.get_object() for page in paper.pages for note in page.get("/Annots", ())]
    links = {note["/A"]["/URI"] for note in notes if "/URI" in note.get("/A", {})}
    assert f"{BASE}/glossary.html" in {link.split("#")[0] for link in links}
    assert not any(server.url in link for link in links)
