"""Every page of the built site in a real browser: whole, quiet, for everyone, and on its own."""

import sys
from functools import partial

import pypdf
import pytest
from conftest import BASE, ROOT, SITE, load_pictures, opening, serve, weigh

sys.path.insert(0, str(ROOT / "tools"))

from print_book import print_pages

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
# Of the pages with source code one, since all come from one template.
PAGES = sorted(path.name for path in SITE.glob("*.html"))
PAGES += ["_modules/index.html", "_modules/diffusion_core/data.html"]
LIGHT = 1_500_000


@pytest.fixture(scope="module", params=PAGES)
def page(request, browser):
    """A page, opened once for all of its tests."""
    with serve() as server, opening(browser, server) as open_page:
        page = open_page(request.param, viewport={"width": 1280, "height": 800})
        page.wait_for_load_state("load")
        page.server = server
        yield page


def violations(page, **settings):
    """Return what axe finds wrong with a page for people who cannot see it well, or at all."""
    page.evaluate(AXE.read_text())
    return page.evaluate(
        """async (settings) => (await axe.run(document, settings)).violations.map(
            ({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 200)])""",
        {"resultTypes": ["violations"], **settings},
    )


def test_nothing_comes_from_elsewhere_or_fails_or_complains_and_the_first_view_is_light(page):
    assert page.requested
    strangers = [u for u in page.requested if not u.startswith((page.server.url, "data:"))]
    assert strangers == []
    assert page.refused == []
    assert page.complaints == []
    assert weigh(page, page.server) <= LIGHT


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
    assert page.evaluate("document.fonts.ready.then(f => [...f].every(f => f.status !== 'error'))")


def test_axe_finds_nothing(page):
    assert violations(page) == []


def test_a_phone_needs_no_scrolling_sideways_and_pictures_keep_their_shape(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
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


@pytest.mark.parametrize("name", CHAPTERS)
def test_axe_finds_nothing_on_a_phone_in_the_dark(open_page, name):
    page = open_page(f"{name}.html", color_scheme="dark", viewport={"width": 360, "height": 740})
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert violations(page) == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_stepper_moves_by_keyboard_mouse_and_finger(open_page, name):
    page = open_page(f"{name}.html", has_touch=True)
    for stepper in page.locator(".stepper").all():
        slider = stepper.locator("input")
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
            before = stepper.locator("img").get_attribute("src")
            move()
            assert slider.input_value() == step
            label = stepper.locator("output").inner_text()
            assert slider.get_attribute("aria-valuetext") == label
            assert stepper.locator("img").get_attribute("alt").endswith(f": {label}")
            assert stepper.locator("img").get_attribute("src") != before


def test_the_search_finds_the_noise_schedule(open_page):
    page = open_page("search.html?q=noise+schedule")
    page.locator("#search-results a[href^='02-schedule.html']").first.wait_for()
    assert page.complaints == []


def test_an_unknown_address_leads_back_to_the_book(open_page, server):
    page = open_page("some/where/else.html", viewport={"width": 1280, "height": 800})
    assert page.get_by_role("heading", name="There is no such page").is_visible()
    page.get_by_role("link", name="first page").click()
    page.wait_for_url(server.url + "index.html")
    # The page itself was refused, but nothing that belongs to it.
    assert page.refused == [server.url + "some/where/else.html"]


def test_the_way_past_the_menu_stays_on_an_unknown_address(open_page, server):
    page = open_page("some/where/else.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(server.url + "**#main-content")
    assert page.url == server.url + "some/where/else.html#main-content"


def test_from_a_file_the_book_works_and_the_generator_says_what_it_needs(browser):
    context = browser.new_context()
    page = context.new_page()
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((SITE / "06-sampling.html").as_uri())
    stepper = page.locator(".stepper").first
    stepper.locator("input").press("ArrowRight")
    alt = stepper.locator("img").get_attribute("alt")
    assert alt.endswith(stepper.locator("output").inner_text())
    picture = page.locator("article img[src^=figures]").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.evaluate("document.fonts.ready.then(f => [...f].every(f => f.status !== 'error'))")
    page.get_by_text("from a web server rather than from a file").wait_for()
    assert {url.split(":")[0] for url in requested} <= {"file", "data"}
    context.close()


def test_paper_is_white_and_holds_the_article_alone(open_page):
    page = open_page("03-forward-noise.html", color_scheme="dark")
    page.emulate_media(media="print")
    for part in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".stepper input", ".copybtn"):
        assert not page.locator(part).first.is_visible(), part
    colours = page.evaluate(
        """() => {
            const { backgroundColor, color } = getComputedStyle(document.body);
            return [backgroundColor, color];
        }"""
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_less_motion_is_no_motion(open_page):
    page = open_page("index.html", reduced_motion="reduce")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].map((e) => getComputedStyle(e))
            .filter(({ transitionDuration, scrollBehavior }) =>
                parseFloat(transitionDuration) > 0 || scrollBehavior === "smooth").length"""
    )
    assert moving == 0


def test_the_book_on_paper_has_bookmarks_and_links_to_the_web(open_page, server, tmp_path):
    print_pages(open_page, server.url, ["02-schedule", "notation"], tmp_path / "book.pdf")
    paper = pypdf.PdfReader(tmp_path / "book.pdf")
    assert [mark.title for mark in paper.outline] == ["2 · Schedule", "Notation"]
    assert "timesteps" in "".join(page.extract_text() for page in paper.pages)
    notes = [note.get_object() for page in paper.pages for note in page.get("/Annots", ())]
    links = {note["/A"]["/URI"] for note in notes if "/URI" in note.get("/A", {})}
    assert f"{BASE}/glossary.html" in {link.split("#")[0] for link in links}
    assert not any(server.url in link for link in links)
