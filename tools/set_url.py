"""Write the repository's URL everywhere it must be literal: `make set-url URL=https://…`.

`_config.yml` states it; links and setup cells repeat it, and a test checks that all agree. The tag
of this version, which setup cells install, is written too.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "_config.yml"


def stated_url() -> str:
    """Return the URL that `_config.yml` states."""
    return re.search(r"^  url: (\S+)$", CONFIG.read_text(), re.MULTILINE).group(1)


def tag() -> str:
    """Return the tag of the version that `pyproject.toml` states."""
    return "v" + tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def files_with_url() -> list[Path]:
    """Return every file that may hold the URL."""
    patterns = ("*.md", "*.cff", "*.yml", "pyproject.toml", "book/*.ipynb", "book/*.md")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def pages_url(url: str) -> str:
    """Return where GitHub Pages publishes the book of a repository."""
    owner, name = url.split("/")[-2:]
    return f"https://{owner}.github.io/{name}"


def main(new: str) -> None:
    """Replace the stated URL, and the short and the published forms of it, by those of `new`."""
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", new):
        sys.exit(f"URL is {new!r}; expected https://github.com/OWNER/NAME.")
    old = stated_url()
    for path in files_with_url():
        text = changed = path.read_text()
        for form in ("https://{}.github.io/{}", "github.com/{}/{}", "google.com/github/{}/{}"):
            before, after = (form.format(*url.split("/")[-2:]) for url in (old, new))
            changed = changed.replace(before, after)
        changed = re.sub(r"(git\+\{home\}@)v[\w.]+", rf"\g<1>{tag()}", changed)
        if changed != text:
            path.write_text(changed)
            print(f"changed {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
