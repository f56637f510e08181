"""Run the chapters as a reader would, in a fresh environment with other versions.

    python tests/environments/run.py colab     # the versions of Colab, and its ways
    python tests/environments/run.py oldest    # the oldest versions that pyproject.toml allows
    python tests/environments/run.py newest    # the newest versions that there are
    python tests/environments/run.py colab 01 05 06    # only these chapters

Prints the versions and a line for each chapter; ends with 1 if one failed. Needs `uv` beside this
Python, whose version every environment gets, and the cars as `load_cars` finds them: set
CIFAR10_DIR where nothing can be downloaded.

`oldest` and `newest` install the package from a built wheel, and run the chapters in one folder
outside the repository. `colab` leaves the installing to the first cell of each chapter, which gets
the last commit of this repository, tagged; every chapter is a session of its own, on an empty
machine. The reader mounts Drive from chapter 2 on, so the cars and the weights of chapter 5 must
reach later chapters by way of Drive alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import set_url  # noqa: E402

CONTENT = Path("/content")
TIMEOUT_SECONDS = 900


def main() -> int:
    """Build one environment, run the chapters in it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environment", choices=("colab", "oldest", "newest"))
    parser.add_argument("chapters", nargs="*", help="such as 01 05; all when none is named")
    options = parser.parse_args()
    chapters = sorted((ROOT / "book").glob("*.ipynb"))
    if options.chapters:
        chapters = [path for path in chapters if path.name[:2] in options.chapters]
    with tempfile.TemporaryDirectory(prefix="simple-diffusion-") as folder:
        folder = Path(folder)
        python = install(options.environment, folder)
        run = in_colab if options.environment == "colab" else in_one_folder
        passed = run(python, folder, chapters)
        subprocess.run([python, "--version"], check=True)
        uv("pip", "list", "--python", python)  # the versions that the chapters met
    print(f"{options.environment}: {sum(passed)} of {len(passed)} passed")
    return 0 if chapters and all(passed) else 1


def install(environment: str, folder: Path) -> Path:
    """Make the environment and return its Python."""
    python = folder / "venv" / "bin" / "python"
    uv("venv", "--quiet", "--seed", "--python", sys.executable, folder / "venv")
    if environment == "colab":
        packages = ("--requirements", HERE / "colab.txt")
    else:
        # By way of the source archive, since a wheel built here could hold what was deleted.
        uv("build", "--quiet", "--out-dir", folder / "dist", ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        # Of a wheel, uv would choose the newest dependencies; of a project, what it is told.
        resolution = "lowest-direct" if environment == "oldest" else "highest"
        pins = folder / "pins.txt"
        of_project = ("--resolution", resolution, "--python", python, "--output-file", pins)
        uv("pip", "compile", "--quiet", ROOT / "pyproject.toml", *of_project)
        packages = (wheel, "--requirements", pins, "ipykernel")
    uv("pip", "install", "--quiet", "--python", python, *packages, "nbclient")
    return python


def uv(*arguments):
    """Run uv, and end with its own words where it fails."""
    if subprocess.run([sys.executable, "-m", "uv", *arguments]).returncode:
        sys.exit(f"failed: uv {' '.join(map(str, arguments))}")


def in_one_folder(python: Path, folder: Path, chapters: list[Path]) -> list[bool]:
    """Run the chapters one after the other, as on a reader's own machine."""
    return [execute(python, chapter, folder / "work", surroundings(folder)) for chapter in chapters]


def in_colab(python: Path, folder: Path, chapters: list[Path]) -> list[bool]:
    """Run every chapter in a session of its own, with Drive from chapter 2 on."""
    drive, mounted = folder / "drive", CONTENT / "drive"
    drive.mkdir()
    # The cell installs a tag, which this commit need not have yet.
    git = ("git", "-C", folder / "published")
    subprocess.run(["git", "clone", "--quiet", ROOT, folder / "published"], check=True)
    subprocess.run([*git, "tag", "--force", set_url.tag()], check=True)
    # Let every kernel load `google.colab` as Colab's do.
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    extension = 'c.InteractiveShellApp.extensions = ["google.colab"]\n'
    (profile / "ipython_kernel_config.py").write_text(extension)
    passed = []
    with content_folder():
        for chapter in chapters:
            # A new session is an empty machine; only Drive is what it was.
            session = folder / f"session-{chapter.stem}"
            use_drive = not chapter.name.startswith("01")
            environment = colab_surroundings(session, folder)
            done = execute(python, chapter, session / "content", environment, use_drive)
            if done and mounted.is_dir() != use_drive:
                print(f"{chapter.stem}: Drive is {'not ' if use_drive else ''}mounted")
                done = False
            passed.append(done)
            shutil.rmtree(mounted, ignore_errors=True)
    print("on Drive:", *sorted(path for path in drive.rglob("*") if path.is_file()), sep="\n  ")
    if any(chapter.name.startswith("05") for chapter in chapters):
        kept = any(drive.rglob("chapter-5/state-*"))
        print(f"weights of chapter 5 on Drive: {'yes' if kept else 'NO'}")
        passed.append(kept)
    return passed


@contextmanager
def content_folder():
    """Colab's own folder, for the length of a `with` block: made, or taken while it is empty."""
    made = not CONTENT.exists()
    try:
        CONTENT.mkdir(exist_ok=True)
        (CONTENT / "drive").mkdir()
        (CONTENT / "drive").rmdir()
    except OSError as error:
        sys.exit(
            f"{CONTENT} cannot be used ({error}); expected an empty folder of yours: "
            f'sudo install -d -o "$USER" {CONTENT}'
        )
    try:
        yield
    finally:
        if made:
            CONTENT.rmdir()


def surroundings(folder: Path) -> dict[str, str]:
    """Return the environment variables of a machine that knows nothing of this one's settings."""
    foreign = ("PYTHON", "JUPYTER", "IPYTHON", "SIMPLE_DIFFUSION")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
    return environment | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "IPYTHONDIR": str(folder / "ipython"),
    }


def colab_surroundings(session: Path, folder: Path) -> dict[str, str]:
    """Return the environment variables of one session in Colab."""
    datasets = session / "keras" / "datasets"
    environment = surroundings(session) | {
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(HERE),
        "COLAB_DRIVE": str(folder / "drive"),
        "XDG_CACHE_HOME": str(session / "cache"),
        "KERAS_HOME": str(datasets.parent),
        # Let pip find the published repository here.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder / 'published'}.insteadOf",
        "GIT_CONFIG_VALUE_0": set_url.stated_url(),
    }
    if environment.get("CIFAR10_DIR") not in (None, "", "stand-in"):
        # In Colab nobody sets this; so it becomes a download that Keras left behind.
        datasets.mkdir(parents=True)
        cars = Path(environment.pop("CIFAR10_DIR")).resolve()
        (datasets / "cifar-10-batches-py").symlink_to(cars)
    return environment


def execute(python, chapter, folder, environment, use_drive=False) -> bool:
    """Run one chapter in a folder, print how it went, and return whether it passed."""
    folder.mkdir(parents=True, exist_ok=True)
    text = chapter.read_text()
    if use_drive:
        assert text.count("use_drive = False") == 1
        text = text.replace("use_drive = False", "use_drive = True")
    (folder / chapter.name).write_text(text)
    start = time.perf_counter()
    timeouts = [f"--{name}={TIMEOUT_SECONDS}" for name in ("timeout", "startup_timeout")]
    result = subprocess.run(
        [python.with_name("jupyter-execute"), *timeouts, chapter.name],
        cwd=folder,
        # %pip and the kernel's own Python are those of the environment.
        env={**environment, "PATH": f"{python.parent}{os.pathsep}{environment['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    passed = result.returncode == 0
    print(f"{chapter.stem}: {'pass' if passed else 'FAIL'}, {time.perf_counter() - start:.0f} s")
    print("" if passed else result.stdout[-4000:], end="", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
