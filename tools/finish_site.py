"""Make the built site stand alone: nothing from elsewhere, light, and found by search engines.

    python tools/finish_site.py _build/live _build/html

Runs after Jupyter Book, once a build. It fills every `<div data-live-generator></div>` and
`<div data-live-forward></div>` with a recorded run, from the first folder, and every
`<div data-live-world="…"></div>` with a note for readers without scripts, and brings what they need
to draw: our scripts, the networks and their runtime. It sets the mathematics in type with
MathJax, keeps the used icons of the theme's font, joins the style sheets without what no page
uses, moves pictures and the steppers' frames out of the pages into files, gives every page a
content security policy and a description, and writes sitemap.xml and 404.html. Nothing that the
theme asks of other hosts is left.
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
import textwrap
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bs4 import BeautifulSoup
from fontTools import subset
from PIL import Image

WEB = Path(__file__).parent.parent / "web"
MATHJAX = WEB / "node_modules" / "mathjax"
MATH_FONTS = MATHJAX / "es5" / "output" / "chtml" / "fonts" / "woff-v2"
RUNTIME = WEB / "node_modules" / "onnxruntime-web" / "dist"
# One runtime for WebAssembly alone, and one that also knows WebGPU; web/live/worker.js chooses.
RUNTIME_FILES = ["ort.wasm.min.mjs", "ort.jspi.min.mjs"]
ENDINGS = ("mjs", "wasm", "jspi.mjs", "jspi.wasm")
RUNTIME_FILES += [f"ort-wasm-simd-threaded.{ending}" for ending in ENDINGS]
IMAGE_SHAPE = [32, 32, 3]
NOTE = (
    "This is a recorded run; scroll it sideways. The live version needs JavaScript, and a page "
    "that comes from a web server rather than from a file: <code>make serve</code> is enough."
)
# What a box has, its script, which recorded pictures it comes with, how wide, and of what.
BOXES = (
    (
        "data-live-generator=''",
        "generator.js",
        "draw-",
        294,
        "Noise turns into nine cars",
    ),
    (
        "data-live-generator=jumps",
        "generator.js",
        "jumps-",
        294,
        "Noise turns into nine cars in jumps",
    ),
    ("data-live-forward", "forward.js", "noise-", 160, "One drawn car turns into noise"),
)
WORLD_NOTE = (
    "Something to touch is here. It needs JavaScript, and a page that comes from a web server "
    "rather than from a file: <code>make serve</code> is enough."
)
PNG = re.compile(r"data:image/png;base64,([\w+/=]+)")
CARD = "_static/cars.png"
CARD_WORDS = "One hundred small pictures, most of them cars, drawn by the book's own network"
# Parts of the theme and of Jupyter Book by a piece of their address, and what on a page needs them.
PARTS = {
    "scripts/fontawesome.js": None,  # icons come from the font, see `keep_used_icons`
    "sphinx-thebe": None,  # runs code on other hosts
    "mathjax": None,  # formulas are in type already, see `typeset`
    "searchtools.js": "#search-results",
    "language_data.js": "#search-results",
    "searchindex.js": "#search-results",
    "design-tabs.js": ".sd-tab-set",
    "togglebutton": ".toggle, .admonition.dropdown",
    "clipboard.min.js": ".highlight pre",
    "copybutton": ".highlight pre",
}
# Inline scripts that belong to the first three, or say what no script asks for.
DEAD_SCRIPT = re.compile(r"THEBE_JS_URL|window\.MathJax|kernelName = |DOCUMENTATION_OPTIONS")
DEAD_TYPES = ("text/x-thebe-config", "application/vnd.jupyter.widget-state+json")
STYLE = "_static/styles/all.css"
# Classes that a script of the theme puts together, so that PurgeCSS cannot find them.
BUILT_NAMES = ("bs-tooltip-auto",)
# Inline scripts are named by their hashes; those do not cover the style attributes of MathJax.
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


def main(live: Path, site: Path) -> None:
    """Finish every page of the site; exits with a sentence where it cannot."""
    copy_live(live, site)
    captions = json.loads((live / "recorded" / "captions.json").read_text())
    pages = {
        path: BeautifulSoup(path.read_text(), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    figures = site / "figures"
    figures.mkdir()
    # The page of the index is a small one, with nothing of its own.
    pages[site / "404.html"] = BeautifulSoup((site / "genindex.html").read_text(), "html.parser")
    start = pages[site / "index.html"].find("link", rel="canonical")["href"]
    home = start.removesuffix("index.html")
    become_not_found(pages[site / "404.html"], urlsplit(home).path)

    typeset(pages, site)
    for path, soup in pages.items():
        fill_boxes(soup, captions)
        drop_parts(soup)
        move_figures(soup, path, figures)
        name_controls(soup)
        break_paths(soup)
        describe(soup, home)
    shutil.rmtree(site / "_images")
    keep_used_icons(pages, site / "_static")
    sheets = link_one_style(pages, site)
    for path, soup in pages.items():
        add_policy(soup)
        path.write_text(str(soup))
    join_styles(sheets, site)
    write_sitemap(pages, site)
    name_edition(site)
    print(f"finished pages: {len(pages)}")


def copy_live(live: Path, site: Path) -> None:
    """Copy what the live boxes need to draw."""
    target = site / "live"
    shutil.copytree(WEB / "live", target)
    shutil.copy(WEB / "offline.js", site)
    for network in live.glob("*.onnx"):
        shutil.copy(network, target)
    shutil.copytree(live / "recorded", target / "recorded")
    # The package from npm comes without its licence; that for Python, of the same project, has it.
    python = Path(find_spec("onnxruntime").origin).parent
    licences = [python / "LICENSE", python / "ThirdPartyNotices.txt"]
    (target / "ort").mkdir()
    for file in (*(RUNTIME / name for name in RUNTIME_FILES), *licences):
        shutil.copy(file, target / "ort")
    # The page needs the sizes beforehand, since a server that compresses does not tell them.
    # Our style sheet is none of them: it is joined with the others.
    files = sorted(p for p in target.rglob("*") if p.is_file() and p.suffix != ".css")
    sizes = {path.relative_to(target).as_posix(): path.stat().st_size for path in files}
    about = {"image_shape": IMAGE_SHAPE, "bytes": sizes}
    (target / "files.json").write_text(json.dumps(about, indent=1) + "\n")


def fill_boxes(soup: BeautifulSoup, captions: dict[str, str]) -> None:
    """Put a recorded run into the boxes of a page, as a strip that scrolls without a script."""
    live = soup.html["data-content_root"] + "live"

    def bring(box, content, script):
        box.append(BeautifulSoup(content, "html.parser"))
        box.insert_after(soup.new_tag("script", type="module", src=f"{live}/{script}"))

    for box in soup.select("div[data-live-world]"):
        bring(box, f'<p class="live-note">{WORLD_NOTE}</p>', "world.js")
    for attribute, script, prefix, width, words in BOXES:
        figures = "\n".join(
            f'<figure><img src="{live}/recorded/{name}" alt="{words}: {caption}" loading="lazy" '
            f'width="{width}" height="{width}"><figcaption>{caption}</figcaption></figure>'
            for name, caption in captions.items()
            if name.startswith(prefix)
        )
        strip = (
            f'<p class="live-note">{NOTE}</p>\n<div class="live-strip" tabindex="0" role="group" '
            f'aria-label="{words}">\n{figures}</div>'
        )
        for box in soup.select(f"div[{attribute}]"):
            bring(box, strip, script)


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
    tex = [place.get_text().strip()[2:-2] for place in places]
    formulas = [{"tex": t, "display": p.name == "div"} for t, p in zip(tex, places, strict=True)]
    typed = json.loads(node(WEB / "typeset.mjs", text=json.dumps(formulas)))
    for place, formula in zip(places, typed["html"], strict=True):
        place.clear()
        place.append(BeautifulSoup(formula, "html.parser"))

    folder = site / "mathematics"
    shutil.copytree(MATH_FONTS, folder)
    shutil.copy(MATHJAX / "LICENSE", folder)
    (folder / "mathematics.css").write_text(typed["css"])


def node(*command: str | Path, text: str = "") -> str:
    """Return what a script for Node answers; exits with a sentence where it fails."""
    program = shutil.which("node", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    asked = {"input": text, "text": True, "stdout": subprocess.PIPE, "timeout": 300}
    answer = subprocess.run([program, *command], **asked)
    if answer.returncode:
        sys.exit(f"{command[0].name} failed; the reason stands above.")
    return answer.stdout


def drop_parts(soup: BeautifulSoup) -> None:
    """Take away what no element of the page needs, and what speaks to other hosts."""
    for tag in soup.select("script[src]"):
        tag["defer"] = ""  # a page is shown before its scripts have come
        for part, needed_by in PARTS.items():
            if part in tag["src"] and not (needed_by and soup.select_one(needed_by)):
                tag.decompose()
                break
    for script in soup.select("script:not([src])"):
        if script.get("type") in DEAD_TYPES or DEAD_SCRIPT.search(script.string or ""):
            script.decompose()
    # Names, brackets and spaces in code need no colour, and are most of the page's elements.
    for span in soup.select("pre span:is(.n, .p, .w)"):
        span.unwrap()
    # The theme has three viewports, a place for advertisements, and scripts that hurry.
    useless = soup.select("#ethical-ad-placement, link[rel=preload]")
    for tag in [*soup.select("meta[name=viewport]")[1:], *useless]:
        tag.decompose()


def break_paths(soup: BeautifulSoup) -> None:
    """Let a module's path in a heading go on below after its folder, not within a name."""
    for path in soup.select("h2 code .pre"):
        folder, _, file = path.string.partition("/")
        if file:
            path.clear()
            path.extend([f"{folder}/", soup.new_tag("wbr"), file])


def move_figures(soup: BeautifulSoup, page: Path, figures: Path) -> None:
    """Move pictures and the steppers' frames into files, and tell the size of every picture.

    A page is read while its pictures still come, and nothing jumps when they do.
    """
    root = soup.html["data-content_root"]

    def move(found: re.Match) -> str:
        return keep(base64.b64decode(found[1]), ".png")

    def keep(content: bytes, ending: str) -> str:
        name = hashlib.sha256(content).hexdigest()[:16] + ending
        (figures / name).write_bytes(content)
        return f"{root}figures/{name}"

    for number, image in enumerate(soup.select("article img")):
        image["src"] = PNG.sub(move, image["src"])
        picture = Image.open(page.parent / image["src"])
        if "_images" in image["src"]:
            light = io.BytesIO()
            # Charts have an alpha channel and sharp edges, drawn cars have neither.
            picture.save(light, "webp", lossless=picture.mode == "RGBA", quality=90, method=6)
            image["src"] = keep(light.getvalue(), ".webp")
        if not image.get("width"):
            image["width"], image["height"] = picture.size
        if number > 0:
            image["loading"] = "lazy"
    for script in soup.select("article script:not([src])"):
        moved = PNG.sub(move, script.string or "")
        if moved != script.string:
            script.string = moved
            frames = re.findall(rf"{root}figures/\w+\.png", moved)
            script.find_previous("div", class_="stepper")["data-frames"] = " ".join(frames)


def name_controls(soup: BeautifulSoup) -> None:
    """Give controls the names that they show, lists their roles, and move actions to book.js."""
    for control in soup.select("summary[aria-label]"):
        del control["aria-label"]
    # A folded cell is named by its title, as in Colab.
    for fold in soup.select("details.hide:has(pre)"):
        if title := re.match("# @title (.+)", fold.pre.get_text()):
            for name in fold.select("summary > p"):
                name.string = title.group(1)
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
    words = first.get_text() if first else ""
    words = textwrap.shorten(words, DESCRIPTION_LENGTH, placeholder=" …")
    if len(words) < 40:
        words = f"{title}: a page of a book you can run, about a diffusion model that draws cars."
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
    """Cut the theme's icon fonts down to the icons that pages, scripts and styles use.

    fontTools cuts a font; which icons a theme uses no library knows.
    """
    main_css = static / "styles" / "pydata-sphinx-theme.css"
    css = main_css.read_text()
    code = dict(re.findall(r'\.(fa-[\w-]+):before(?=[^{}]*\{content:"\\(\w+)"\})', css))
    icons = [tag for soup in pages.values() for tag in soup.select("[class*='fa-']")]
    names = {name for tag in icons for name in tag["class"]}
    for script in static.glob("scripts/*.js"):
        if script.name != "fontawesome.js":
            names |= set(re.findall(r"fa-[\w-]+", script.read_text()))
    rules = re.sub(r"\.fa-[^{}]*\{content:[^{}]*\}", "", css)
    rules += (static / "styles" / "sphinx-book-theme.css").read_text()
    used = {int(code[name], 16) for name in names if name in code}
    used |= {int(digits, 16) for digits in re.findall(r'"\\([ef]\w{3})"', rules)}
    used |= {ord(letter) for letter in re.findall("[\ue000-\uf8ff]", rules)}

    fonts = static / "vendor" / "fontawesome" / "webfonts"
    asked = f"--unicodes={','.join(f'{code:x}' for code in sorted(used))}"
    for path in fonts.glob("*.ttf"):
        subset.main(
            [str(path), asked, "--flavor=woff", f"--output-file={path.with_suffix('.woff')}"]
        )
    address = r"url\((\S+?)\.woff2\) format\(\"woff2\"\),url\(\S+?\.ttf\) format\(\"truetype\"\)"
    main_css.write_text(re.sub(address, r'url(\1.woff) format("woff")', css))
    (static / "scripts" / "fontawesome.js.LICENSE.txt").rename(fonts / "LICENSE.txt")
    unused = [*fonts.glob("*.ttf"), *fonts.glob("*.woff2"), *static.glob("scripts/fontawesome.js*")]
    for path in [*unused, *static.glob("sphinx-thebe*"), *static.glob("*webpack-macros.html")]:
        path.unlink()


def link_one_style(pages: dict[Path, BeautifulSoup], site: Path) -> list[Path]:
    """Link every page to one style sheet only, and return those that it stands for, in order."""
    # Sphinx gives the same to every page.
    links = pages[site / "index.html"].select("link[rel=stylesheet]")
    sheets = [site / urlsplit(link["href"]).path for link in links if "thebe" not in link["href"]]
    for soup in pages.values():
        first, *others = soup.select("link[rel=stylesheet]")
        address = soup.html["data-content_root"] + STYLE
        first.replace_with(soup.new_tag("link", rel="stylesheet", href=address))
        for link in others:
            link.decompose()
    return sheets


def join_styles(sheets: list[Path], site: Path) -> None:
    """Join style sheets and ours to one; of the theme PurgeCSS keeps what pages and scripts use."""

    def content(sheet: Path) -> str:
        def address(found: re.Match) -> str:
            return f'url("{os.path.relpath(sheet.parent / found[1], (site / STYLE).parent)}")'

        text = re.sub(r'url\("?([\w./-]+)"?\)', address, sheet.read_text())
        return re.sub('@import "(.+?)";', lambda found: content(sheet.parent / found[1]), text)

    ours = [sheet for sheet in sheets if sheet.name in ("book.css", "folds.css")]
    ours += [site / "mathematics" / "mathematics.css", site / "live" / "live.css"]
    theirs = [sheet for sheet in sheets if sheet not in ours]
    (site / STYLE).write_text("\n".join(map(content, theirs)))
    used = [site / "**" / f"*.{ending}" for ending in ("html", "js")]
    command = [WEB / "node_modules" / "purgecss" / "bin" / "purgecss.js", "--css", site / STYLE]
    command += ["--content", *used, "--safelist", *BUILT_NAMES]
    node(*command, "--output", (site / STYLE).parent)
    with (site / STYLE).open("a") as file:
        file.write("\n".join(map(content, ours)))
    for path in [*theirs, *ours, *site.glob("_static/styles/*.map")]:
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
    """List every page that search engines may find; sphinx-sitemap would be one more package."""
    links = [soup.find("link", rel="canonical") for soup in pages.values()]
    lines = [f"<url><loc>{link['href']}</loc></url>" for link in links if link]
    start = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    (site / "sitemap.xml").write_text("\n".join([start, *lines, "</urlset>\n"]))


def name_edition(site: Path) -> None:
    """Write the digest of all files where the service worker and what it keeps are named by it."""
    files = sorted(path for path in site.rglob("*") if path.is_file())
    edition = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
    about = json.loads((site / "live" / "files.json").read_text())
    about["edition"] = edition.hexdigest()[:16]
    (site / "live" / "files.json").write_text(json.dumps(about, indent=1) + "\n")
    worker = site / "offline.js"
    worker.write_text(worker.read_text().replace('"unfinished"', json.dumps(about["edition"])))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
