"""Put the live boxes into the built site: their scripts, the runtime, the network, a recorded run.

    python tools/live_site.py _build/live _build/html

Takes model.onnx and recorded/ from the first folder, our scripts and the runtime's files from web/,
and fills every `<div data-live-generator></div>` and `<div data-live-forward></div>` of the pages.
"""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).parent.parent / "web"
RUNTIME = WEB / "node_modules" / "onnxruntime-web" / "dist"
# One runtime for WebAssembly alone, and one that also knows WebGPU; web/live/worker.js chooses.
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.jspi.min.mjs",
    "ort-wasm-simd-threaded.jspi.mjs",
    "ort-wasm-simd-threaded.jspi.wasm",
)
IMAGE_SHAPE = [32, 32, 3]

NOTE = (
    "This is a recorded run; scroll it sideways. The live version needs JavaScript, and a page "
    "that comes from a web server rather than from a file: <code>make serve</code> is enough."
)
# The attribute of a box, its script, which recorded pictures it comes with, how wide, and of what.
BOXES = (
    ("data-live-generator", "generator.js", "draw-", 294, "Nine pictures turn from noise to cars"),
    ("data-live-forward", "forward.js", "noise-", 160, "One drawn car turns into noise"),
)


def main(live: Path, site: Path) -> None:
    """Copy everything and fill the pages; exits with a sentence where no page has a box."""
    target = site / "live"
    shutil.copytree(WEB / "live", target)
    shutil.copy(WEB / "offline.js", site)
    shutil.copy(live / "model.onnx", target)
    shutil.copytree(live / "recorded", target / "recorded")
    (target / "ort").mkdir()
    for name in RUNTIME_FILES:
        shutil.copy(RUNTIME / name, target / "ort")
    # The package from npm comes without its licence; that for Python, of the same project, has it.
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copy(Path(find_spec("onnxruntime").origin).parent / name, target / "ort")
    # The page needs the sizes beforehand, since a server that compresses does not tell them.
    files = sorted(path for path in target.rglob("*") if path.is_file())
    sizes = {path.relative_to(target).as_posix(): path.stat().st_size for path in files}
    about = {"image_shape": IMAGE_SHAPE, "bytes": sizes}
    (target / "files.json").write_text(json.dumps(about, indent=1) + "\n")

    captions = json.loads((live / "recorded" / "captions.json").read_text())
    filled = sum(fill(page, site, captions) for page in sorted(site.rglob("*.html")))
    if not filled:
        sys.exit("No page holds a live box, such as <div data-live-generator></div>.")
    print(f"live boxes: {filled}")


def fill(page: Path, site: Path, captions: dict[str, str]) -> int:
    """Fill the boxes of a page, and return how many there were."""
    text = before = page.read_text()
    live = "../" * (len(page.relative_to(site).parts) - 1) + "live"
    filled = 0
    for attribute, script, prefix, width, words in BOXES:
        empty = f"<div {attribute}></div>"
        filled += text.count(empty)
        content = recorded(captions, prefix, width, words, live)
        box = (
            f'<link rel="stylesheet" href="{live}/live.css">\n<div {attribute}>\n{content}</div>\n'
            f'<script type="module" src="{live}/{script}"></script>'
        )
        text = text.replace(empty, box)
    if text != before:
        page.write_text(text)
    return filled


def recorded(captions: dict[str, str], prefix: str, width: int, words: str, live: str) -> str:
    """Return recorded pictures, `width` pixels wide, as a strip that scrolls without a script."""
    figures = "".join(
        f'<figure><img src="{live}/recorded/{name}" alt="{words}: {caption}" loading="lazy" '
        f'width="{width}" height="{width}"><figcaption>{caption}</figcaption></figure>\n'
        for name, caption in captions.items()
        if name.startswith(prefix)
    )
    return (
        f'<p class="live-note">{NOTE}</p>\n'
        f'<div class="live-strip" tabindex="0" role="group" aria-label="{words}">\n'
        f"{figures}</div>\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
