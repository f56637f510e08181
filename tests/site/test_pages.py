"""The built website in _build/html: what readers get. `make test` runs this after the build."""

import os
from functools import cache

import pytest
from bs4 import BeautifulSoup
from conftest import BASE, ROOT, SITE

import diffusion_core

CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("*.ipynb"))
PAGES = [*CHAPTERS, *sorted(path.stem for path in (ROOT / "book").glob("*.md"))]
ALL = [*(f"{name}.html" for name in PAGES), "search.html", "genindex.html", "404.html"]


@cache
def page(file):
    return BeautifulSoup((SITE / file).read_text(), "html.parser")


@cache
def names(file):
    """The names on a page that a link may end in."""
    return {tag["id"] for tag in page(file).find_all(id=True)}


@pytest.mark.parametrize("name", ALL)
def test_a_page_says_what_it_is_and_its_policy_names_no_other_host_and_no_loose_script(name):
    soup = page(name)
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'self'"
    assert [word for word in ("http", "*", "'unsafe-eval'") if word in policy] == []
    assert "'unsafe-inline'" not in rules["script-src"]
    assert soup.html["lang"] == "en"
    assert len(soup.find("meta", {"name": "description"})["content"]) > 40
    assert soup.find("meta", property="og:title")["content"] == soup.title.string
    card = soup.find("meta", property="og:image")["content"]
    assert (SITE / card.removeprefix(f"{BASE}/")).is_file()
    canonical = soup.find("link", rel="canonical")
    listed = f"<loc>{BASE}/{name}</loc>" in (SITE / "sitemap.xml").read_text()
    if name == "404.html":
        assert (canonical, listed) == (None, False)
    else:
        assert (canonical["href"], listed) == (f"{BASE}/{name}", True)


@pytest.mark.parametrize("name", ALL)
def test_a_page_waits_for_one_style_sheet_and_for_no_script(name):
    (style,) = page(name).select("link[rel=stylesheet]")
    assert style["href"].endswith("_static/styles/all.css")
    assert page(name).select("script[src]:not([defer], [type=module]), link[rel=preload]") == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_pictures_have_words_and_sizes(name):
    article = page(f"{name}.html").find("article")
    for link in article.find_all("a", href=True):
        target, _, anchor = link["href"].partition("#")
        file = target or f"{name}.html"
        if not target.startswith(("http", "mailto")):
            assert (SITE / file).is_file(), link
            assert not (anchor and file.endswith(".html")) or anchor in names(file), link
    for image in article.find_all("img"):
        # Sphinx writes the file's name where a picture has no words.
        words = image.get("alt", "")
        assert len(words) >= 10, image
        assert not words.endswith(".png"), image
        assert (SITE / image["src"]).is_file()
        assert int(image["width"]) * int(image["height"]) > 0, image


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_a_slider_its_own_colab_button_no_error_and_says_which_cars_it_shows(name):
    article = page(f"{name}.html").find("article")
    assert article.select(".stepper input[type=range]") or name == "elsewhere"
    assert [word for word in ("Traceback", "WARNING:") if word in article.text] == []
    assert "this chapter took" in article.text
    announced = "These are stand-in cars" in article.text
    assert announced == (os.environ.get("CIFAR10_DIR") == "stand-in")
    links = {link["href"] for link in page(f"{name}.html").select("a[href^='https://colab.']")}
    (colab,) = links
    assert colab.endswith(f"/blob/main/book/{name}.ipynb")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_fold_of_code_says_what_is_in_it(name):
    named = {
        fold.pre.get_text().split("\n")[0]: fold.select_one("summary > .collapsed").get_text()
        for fold in page(f"{name}.html").select("article details.hide:has(pre)")
    }
    titled = {first: words for first, words in named.items() if first.startswith("# @title ")}
    assert titled
    for first, words in titled.items():
        assert words == first.removeprefix("# @title ")


def test_what_others_made_comes_with_its_licence():
    for path, words in (
        ("mathematics/LICENSE", "Apache License"),
        ("live/ort/LICENSE", "Copyright (c) Microsoft Corporation"),
        ("live/ort/ThirdPartyNotices.txt", "protocolbuffers/protobuf"),
        ("_static/vendor/fontawesome/webfonts/LICENSE.txt", "Fonts: SIL OFL 1.1"),
    ):
        assert words in (SITE / path).read_text(), path


def test_the_reference_describes_every_public_name():
    assert set(diffusion_core.__all__) <= {name.split(".")[-1] for name in names("api.html")}
