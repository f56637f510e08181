"""Make the built site stand alone: nothing from elsewhere, light, and found by search engines.

    python tools/finish_site.py _build/html

Runs after Jupyter Book and tools/live_site.py, once a build. It sets the mathematics in type with
MathJax, keeps the used icons of the theme's font, moves pictures and the steppers' frames out of
the pages into files, gives every page a content security policy and a description, and writes
sitemap.xml and 404.html. Nothing that the theme asks of other hosts is left.
"""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup
from fontTools import subset
from PIL import Image

WEB = Path(__file__).parent.parent / "web"
MATHJAX = WEB / "node_modules" / "mathjax"
MATH_FONTS = MATHJAX / "es5" / "output" / "chtml" / "fonts" / "woff-v2"
PNG = "data:image/png;base64,"
CARD = "_static/cars.png"
CARD_WORDS = (
    "A grid of one hundred small pictures, most of them cars, drawn by the book's own network"
)
# Parts of the theme and of Jupyter Book by a piece of their address, and what on a page needs them.
PARTS = {
    "scripts/fontawesome.js": None,  # icons come from the font, see `keep_used_icons`
    "sphinx-thebe": None,  # runs code on other hosts
    "mathjax": None,  # formulas are in type already, see `typeset`
    "searchtools.js": "#search-results",
    "language_data.js": "#search-results",
    "searchindex.js": "#search-results",
    "sphinx-design.min.css": "[class*='sd-']",
    "design-tabs.js": ".sd-tab-set",
    "togglebutton": ".toggle, .admonition.dropdown",
    "clipboard.min.js": ".highlight pre",
    "copybutton": ".highlight pre",
}
# Inline scripts that belong to the first three.
DEAD_SCRIPT = re.compile(r"THEBE_JS_URL|window\.MathJax|kernelName = ")
DEAD_TYPES = ("text/x-thebe-config", "application/vnd.jupyter.widget-state+json")
# Inline styles are allowed: MathJax and the figures write style attributes, and hashes do not cover
# those. Inline scripts are named by their hashes.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {hashes}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
DESCRIPTION_LENGTH = 155
NOT_FOUND = """
<h1>There is no such page</h1>
<p>The address may be old, or a letter may be wrong. The book starts at its
<a href="index.html">first page</a>, and the <a href="search.html">search</a> finds the rest.</p>
"""


def main(site: Path) -> None:
    """Finish every page of the site; exits with a sentence where it cannot."""
    pages = {
        path: BeautifulSoup(path.read_text(), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    figures = site / "figures"
    figures.mkdir()
    # The page of the index is a small one, with nothing of its own.
    pages[site / "404.html"] = BeautifulSoup((site / "genindex.html").read_text(), "html.parser")
    home = (
        pages[site / "index.html"].find("link", rel="canonical")["href"].removesuffix("index.html")
    )
    become_not_found(pages[site / "404.html"], urlsplit(home).path)

    typeset(pages, site)
    for path, soup in pages.items():
        root = "../" * (len(path.relative_to(site).parts) - 1)
        drop_parts(soup)
        move_figures(soup, path.parent, figures, root)
        name_controls(soup)
        describe(soup, home)
    keep_used_icons(pages, site / "_static")
    for path, soup in pages.items():
        add_policy(soup)
        path.write_text(str(soup))
    write_sitemap(pages, site)
    print(f"finished pages: {len(pages)}")


def become_not_found(soup: BeautifulSoup, folder: str) -> None:
    """Turn a page into the one that GitHub Pages sends for every address that it does not know."""
    article = soup.find("article")
    article.clear()
    article.append(BeautifulSoup(NOT_FOUND, "html.parser"))
    soup.title.string = "There is no such page — Simple Diffusion"
    soup.find("link", rel="canonical").decompose()
    # It answers at any depth, so its links start from the folder of the book, save those to itself.
    soup.html["data-content_root"] = folder
    for name in ("href", "src", "action"):
        for tag in soup.select(f"[{name}]:not([{name}^='#'])"):
            tag[name] = urljoin(folder, tag[name])
    soup.head.append(soup.new_tag("meta", attrs={"name": "robots", "content": "noindex"}))


def typeset(pages: dict[Path, BeautifulSoup], site: Path) -> None:
    """Replace the TeX of all pages by formulas in type, and add their style sheet and fonts."""
    places = [place for soup in pages.values() for place in soup.select("span.math, div.math")]
    formulas = [
        {"tex": place.get_text().strip()[2:-2], "display": place.name == "div"} for place in places
    ]
    node = shutil.which("node", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    answer = subprocess.run(
        [node, WEB / "typeset.mjs"],
        input=json.dumps(formulas),
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    if answer.returncode:
        sys.exit("The mathematics could not be set in type; the reason stands above.")
    typed = json.loads(answer.stdout)
    for place, formula in zip(places, typed["html"], strict=True):
        place.clear()
        place.append(BeautifulSoup(formula, "html.parser"))

    folder = site / "mathematics"
    shutil.copytree(MATH_FONTS, folder)
    shutil.copy(MATHJAX / "LICENSE", folder)
    (folder / "mathematics.css").write_text(typed["css"])
    for path, soup in pages.items():
        if soup.select_one("mjx-container"):
            root = "../" * (len(path.relative_to(site).parts) - 1)
            sheet = soup.new_tag(
                "link", rel="stylesheet", href=f"{root}mathematics/mathematics.css"
            )
            soup.head.append(sheet)


def drop_parts(soup: BeautifulSoup) -> None:
    """Take away what no element of the page needs, and what speaks to other hosts."""
    for tag in soup.select("script[src], link[href]"):
        address = tag.get("src") or tag["href"]
        for part, needed_by in PARTS.items():
            if part in address and not (needed_by and soup.select_one(needed_by)):
                tag.decompose()
                break
    for script in soup.select("script:not([src])"):
        if script.get("type") in DEAD_TYPES or DEAD_SCRIPT.search(script.string or ""):
            script.decompose()
    # The theme writes the viewport three times, and a place for advertisements.
    for tag in [*soup.select("meta[name=viewport]")[1:], *soup.select("#ethical-ad-placement")]:
        tag.decompose()


def move_figures(soup: BeautifulSoup, folder: Path, figures: Path, root: str) -> None:
    """Move pictures and the steppers' frames into files, and tell the size of every picture.

    A page is read while its pictures still come, and nothing jumps when they do.
    """
    for number, image in enumerate(soup.select("article img")):
        content = picture_content(image["src"], folder)
        if image["src"].startswith(PNG):
            name = hashlib.sha256(content).hexdigest()[:16] + ".png"
            (figures / name).write_bytes(content)
            image["src"] = f"{root}figures/{name}"
        if not image.get("width"):
            width, height = Image.open(io.BytesIO(content)).size
            image["width"], image["height"] = width, height
        if number > 0:
            image["loading"] = "lazy"
    for script in soup.select("article script:not([src])"):
        if PNG in (script.string or ""):
            name = hashlib.sha256(script.string.encode()).hexdigest()[:16] + ".js"
            (figures / name).write_text(script.string)
            script.string = ""
            script["src"], script["defer"] = f"{root}figures/{name}", ""


def picture_content(address: str, folder: Path) -> bytes:
    """Return the content of a picture inside the page or beside it."""
    if address.startswith(PNG):
        return base64.b64decode(address.removeprefix(PNG))
    return (folder / address).read_bytes()


def name_controls(soup: BeautifulSoup) -> None:
    """Give controls the names that they show, lists their roles, and move actions to book.js."""
    for control in soup.select("summary[aria-label]"):
        del control["aria-label"]
    for button in soup.select(".search-button-field"):
        button["aria-label"] = " ".join(button.get_text().split())
    sidebar = soup.select_one("#pst-primary-sidebar")
    sidebar["role"], sidebar["aria-label"] = "complementary", "Book"
    # The role that Sphinx gives to entries of the bibliography is out of use.
    for entry in soup.select("[role=doc-biblioentry]"):
        entry["role"] = "listitem"
    # The policy forbids scripts in attributes.
    for button in soup.select("button[onclick]"):
        button["data-does"] = button["onclick"].removesuffix("()").removeprefix("window.")
        del button["onclick"]


def describe(soup: BeautifulSoup, home: str) -> None:
    """Say what the page is about to search engines, and to those who are sent a link to it."""
    title = soup.title.string
    first = soup.select_one("article section > p")
    words = " ".join(first.get_text().split()) if first else ""
    if len(words) < 40:
        words = f"{title}: a page of a book you can run, about a diffusion model that draws cars."
    if len(words) > DESCRIPTION_LENGTH:
        words = words[:DESCRIPTION_LENGTH].rsplit(" ", 1)[0].rstrip(",;:") + " …"
    canonical = soup.find("link", rel="canonical")
    about = {
        ("name", "description"): words,
        ("property", "og:title"): title,
        ("property", "og:description"): words,
        ("property", "og:type"): "article",
        ("property", "og:url"): canonical["href"] if canonical else home,
        ("property", "og:site_name"): "Simple Diffusion",
        ("property", "og:image"): home + CARD,
        ("property", "og:image:alt"): CARD_WORDS,
        ("name", "twitter:card"): "summary_large_image",
    }
    for (kind, name), content in about.items():
        soup.head.append(soup.new_tag("meta", attrs={kind: name, "content": content}))


def keep_used_icons(pages: dict[Path, BeautifulSoup], static: Path) -> None:
    """Cut the theme's icon fonts down to the icons that pages, scripts and styles use."""
    main_css = static / "styles" / "pydata-sphinx-theme.css"
    css = main_css.read_text()
    code = dict(re.findall(r'\.(fa-[\w-]+):before(?=[^{}]*\{content:"\\(\w+)"\})', css))
    names = {
        name
        for soup in pages.values()
        for tag in soup.select("[class*='fa-']")
        for name in tag["class"]
    }
    for script in static.glob("scripts/*.js"):
        if script.name != "fontawesome.js":
            names |= set(re.findall(r"fa-[\w-]+", script.read_text()))
    rules = re.sub(r"\.fa-[^{}]*\{content:[^{}]*\}", "", css)
    rules += (static / "styles" / "sphinx-book-theme.css").read_text()
    used = {int(code[name], 16) for name in names if name in code}
    used |= {int(digits, 16) for digits in re.findall(r'"\\([ef]\w{3})"', rules)}
    used |= {ord(letter) for letter in re.findall("[\ue000-\uf8ff]", rules)}

    fonts = static / "vendor" / "fontawesome" / "webfonts"
    options = subset.Options(flavor="woff")
    for path in fonts.glob("*.ttf"):
        font = subset.load_font(path, options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=used)
        subsetter.subset(font)
        subset.save_font(font, path.with_suffix(".woff"), options)
    address = r"url\((\S+?)\.woff2\) format\(\"woff2\"\),url\(\S+?\.ttf\) format\(\"truetype\"\)"
    main_css.write_text(re.sub(address, r'url(\1.woff) format("woff")', css))
    (static / "scripts" / "fontawesome.js.LICENSE.txt").rename(fonts / "LICENSE.txt")
    unused = [*fonts.glob("*.ttf"), *fonts.glob("*.woff2"), *static.glob("scripts/fontawesome.js*")]
    for path in [*unused, *static.glob("sphinx-thebe*")]:
        path.unlink()


def add_policy(soup: BeautifulSoup) -> None:
    """Put the content security policy at the top of the page."""
    inline = [script.string or "" for script in soup.select("script:not([src])")]
    digests = {hashlib.sha256(text.encode()).digest() for text in inline}
    hashes = " ".join(sorted(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests))
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY.format(hashes=hashes)}
    soup.head.insert(0, soup.new_tag("meta", attrs=policy))
    soup.head.insert(0, soup.find("meta", charset=True).extract())


def write_sitemap(pages: dict[Path, BeautifulSoup], site: Path) -> None:
    """List every page that search engines may find, by its address on the web."""
    # By hand, since sphinx-sitemap would be one more package for these few lines.
    links = [soup.find("link", rel="canonical") for soup in pages.values()]
    lines = [f"<url><loc>{link['href']}</loc></url>" for link in links if link]
    text = '<?xml version="1.0" encoding="UTF-8"?>\n'
    text += '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (site / "sitemap.xml").write_text(text + "\n".join(lines) + "\n</urlset>\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
