"""Compare our network with its peers: training speed, drawing, and quality after equal CPU time.

    python bench/peers.py --peer-python PYTHON                  # everything
    python bench/peers.py training drawing --peer-python PYTHON --rounds 3
    python bench/peers.py quality --peer-python PYTHON --minutes 30 --scratch FOLDER

PYTHON is the interpreter of an environment with bench/requirements.txt. keras_peers.py and
torch_peers.py say who the contestants are; `--only NAME` (again and again) picks some of them, for
`quality` or with a folder of their own (`--results`). Every contestant runs in a process of its
own, several rounds in turns, and medians are written to results/peers-training.json,
peers-drawing.json and peers-quality.json. `quality` is one round, needs CIFAR-10, and passes over
contestants that its results file holds already. There every contestant starts its drawing from the
same noise, and keeps its own recipe: ours and diffusers flip the pictures, the article and
keras.io's example do not. The CPU time of compiling counts.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from process import run_child
from recording import keep_whole, read_arguments, read_results, write_results

from diffusion_core import gaussian_noise, load_cars, normalize

KERAS, TORCH, MATMUL = "keras_peers.py", "torch_peers.py", "matmul.py"
TRAINING = {
    "ours": KERAS,
    "ours-no-xla": KERAS,
    "twin": TORCH,
    "twin-channels-last": TORCH,
    "twin-compiled": TORCH,
    "article": KERAS,
    "article-xla": KERAS,
    "ddim": KERAS,
    "ddim-xla": KERAS,
    "diffusers": TORCH,
    "ddim-64": KERAS,
    "diffusers-default": TORCH,
}
# Networks of their pages' own size are slow, and only their images a second are of interest.
FEW_IMAGES = {"ddim-64": 128, "diffusers-default": 32}
DRAWING = {"predict": KERAS, "model-predict": KERAS, "diffusers": TORCH}
QUALITY = {
    "ours": KERAS,
    "article": KERAS,
    "ddim": KERAS,
    "diffusers": TORCH,
    "diffusers-example-rule": TORCH,
}
ARTICLES_PICTURES = 1000  # it draws slowly
OPERATIONS_A_STEP = 3  # in passes through the network: one forward, and back twice as much


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable, help="has torch and diffusers")
    parser.add_argument("--only", action="append", help="this contestant; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drawn", type=int, nargs="+", default=[25, 1000], help="cars to draw")
    parser.add_argument("--minutes", type=float, default=30, help="CPU minutes of training")
    parser.add_argument("--seed", type=int, default=0, help="of quality; the others use 0")
    parser.add_argument("--scratch", type=Path, default=Path("_build/peers"))
    arguments = read_arguments(parser, BENCHES)
    for what in arguments.what:
        if strangers := set(arguments.only or ()) - set(CONTESTANTS[what]):
            known = ", ".join(CONTESTANTS[what])
            parser.error(f"{what} has no {', '.join(sorted(strangers))}; it has {known}.")
    # `quality` adds to its file.
    if arguments.only and arguments.what != ["quality"]:
        keep_whole(parser, arguments.results)
    for what in arguments.what:
        BENCHES[what](arguments)


def training(arguments) -> None:
    """Time training steps, and hold them against the machine's matrix products."""
    contestants = chosen(TRAINING, arguments)
    reports = {name: [] for name in contestants}
    rates = {"numpy": [], "torch": []}
    for _ in range(arguments.rounds):
        for library, found in rates.items():
            found.append(child(MATMUL, "rate", library, arguments))
        for name, script in contestants.items():
            images = FEW_IMAGES.get(name, arguments.images)
            reports[name].append(child(script, "train", name, arguments, images=images))
    rates = {library: median(found, "gigaflops") for library, found in rates.items()}
    rows = []
    for name, found in reports.items():
        row = training_row(name, found)
        operations = row["images per second"] * OPERATIONS_A_STEP * 2 * found[-1]["multiply_adds"]
        share = round(operations / max(rates.values()) / 1e9, 3)
        rows.append(row | {"share of the matrix-product rate": share})
    write_results(
        "peers-training",
        rows,
        arguments.results,
        rounds=arguments.rounds,
        seed=0,
        matrix_product_gigaflops=rates,
        versions=all_versions(reports),
    )


def training_row(name, reports) -> dict:
    last = reports[-1]
    images_per_second = statistics.median(each["images"] / each["seconds"] for each in reports)
    images_per_cpu_second = statistics.median(
        each["images"] / each["loop_cpu_seconds"] for each in reports
    )
    return {
        "what": name,
        "size": last["image_size"],
        "batch": last["batch"],
        "parameters": last["parameters"],
        "million multiply-adds an image": round(last["multiply_adds"] / 1e6, 1),
        "images per second": round(images_per_second, 2),
        "images per CPU second": round(images_per_cpu_second, 2),
        "seconds until the first step is done": round(median(reports, "first_seconds"), 1),
        "images": last["images"],
        **whole_process(reports),
    }


def drawing(arguments) -> None:
    """Time drawing in 16 steps, from the start of the process and again."""
    contestants = [
        (name, script, pictures)
        for name, script in chosen(DRAWING, arguments).items()
        for pictures in arguments.drawn
    ]
    reports = {(name, pictures): [] for name, _, pictures in contestants}
    for _ in range(arguments.rounds):
        for name, script, pictures in contestants:
            found = child(script, "draw", name, arguments, pictures=pictures)
            reports[name, pictures].append(found)
    rows = [
        {
            "what": name,
            "pictures": pictures,
            "pictures per second": round(pictures / median(found, "seconds"), 1),
            "seconds from the start until drawn": round(median(found, "first_seconds"), 1),
            "seconds to draw again": round(median(found, "seconds"), 2),
            **whole_process(found),
        }
        for (name, pictures), found in reports.items()
    ]
    write_results(
        "peers-drawing",
        rows,
        arguments.results,
        rounds=arguments.rounds,
        seed=0,
        versions=all_versions(reports),
    )


def quality(arguments) -> None:
    """Train every contestant for the same CPU time, and measure what it draws."""
    from diffusion_core.evaluation import compare  # now, so that it fails before the training

    arguments.scratch.mkdir(parents=True, exist_ok=True)
    scratch = str(arguments.scratch.resolve())
    training_cars, held_out = load_cars(), load_cars("test")
    cars = normalize(training_cars)
    np.save(f"{scratch}/cars.npy", cars)
    noise = gaussian_noise(arguments.pictures, seed=arguments.seed)
    np.save(f"{scratch}/noise.npy", noise)
    # keras.io's example measures its training pictures once, before it trains.
    settings = {
        "ddim": {"mean": cars.mean((0, 1, 2)).tolist(), "deviation": cars.std((0, 1, 2)).tolist()}
    }
    rows = read_results("peers-quality", arguments.results)["rows"]

    def budget(name):
        most = ARTICLES_PICTURES if name == "article" else arguments.pictures
        return {
            "minutes": arguments.minutes,
            "seed": arguments.seed,
            "pictures": min(most, arguments.pictures),
        }

    def measure(name, asked, drawn, about_training, versions):
        known = {"what": name, **asked}
        measured = [
            known | {"weights": weights, **about_training} | compare(images, held_out)
            for weights, images in drawn.items()
        ]
        # Read again, since another process may have added its own contestant meanwhile.
        saved = read_results("peers-quality", arguments.results)
        versions = saved.get("versions", {}) | versions
        rows = saved["rows"] + measured
        write_results("peers-quality", rows, arguments.results, versions=versions)

    untrained = {"steps": 0, "training images": 0, "training seconds": 0.0}
    floor = budget("training cars") | {"minutes": 0}
    if not holds(rows, "training cars", floor):
        drawn = {"none": training_cars[: arguments.pictures]}
        measure("training cars", floor, drawn, untrained, {})
    for name, script in chosen(QUALITY, arguments).items():
        asked = budget(name)
        if holds(rows, name, asked):
            continue
        request = {"scratch": scratch, "settings": settings.get(name, {}), **asked}
        found = child(script, "quality", name, arguments, **request)
        drawn = {weights: np.load(path) for weights, path in found["drawn"].items()}
        about_training = {
            "steps": found["steps"],
            "training images": found["images"],
            "training seconds": round(found["train_seconds"], 1),
        }
        measure(name, asked, drawn, about_training, found["versions"])


def holds(rows, name, asked) -> bool:
    """Return whether the rows hold this contestant after the same budget already."""
    return any({"what": name, **asked}.items() <= row.items() for row in rows)


def chosen(contestants, arguments) -> dict:
    return {
        name: script
        for name, script in contestants.items()
        if not arguments.only or name in arguments.only
    }


def child(script, do, name, arguments, **request) -> dict:
    print(f"{script} {do} {name} {request}", file=sys.stderr, flush=True)
    python = sys.executable if script == KERAS else arguments.peer_python
    return run_child(python, script, do, name, **request)


def median(reports, value) -> float:
    return statistics.median(report[value] for report in reports)


def whole_process(reports) -> dict:
    return {
        "seconds, whole process": round(median(reports, "whole_seconds"), 1),
        "CPU seconds, whole process": round(median(reports, "cpu_seconds"), 1),
        "peak memory, MB": round(median(reports, "peak_megabytes")),
    }


def all_versions(reports) -> dict:
    """Return every package version that some contestant ran on."""
    return {k: v for found in reports.values() for k, v in found[-1]["versions"].items()}


CONTESTANTS = {"training": TRAINING, "drawing": DRAWING, "quality": QUALITY}
BENCHES = {"training": training, "drawing": drawing, "quality": quality}

if __name__ == "__main__":
    main()
