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

KERAS = ["ours", "ours-no-xla", "article", "article-xla", "ddim", "ddim-xla", "ddim-64"]
TORCH = ["twin", "twin-channels-last", "twin-compiled", "diffusers", "diffusers-default"]
CONTESTANTS = {
    "training": KERAS + TORCH,
    "drawing": ["predict", "model-predict", "diffusers"],
    "quality": ["ours", "article", "ddim", "diffusers"],
}
SCRIPTS = dict.fromkeys(TORCH, "torch_peers.py") | dict.fromkeys(["numpy", "torch"], "process.py")
# Networks of their pages' own size are slow, and only their images a second are of interest.
FEW_IMAGES = {"ddim-64": 128, "diffusers-default": 32}
ARTICLES_PICTURES = 1000  # it draws slowly
OPERATIONS_A_STEP = 3  # in passes through the network: one forward, and back twice as much


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable, help="has torch and diffusers")
    parser.add_argument("--only", action="append", help="this contestant; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1280, help="training images a round")
    parser.add_argument("--drawn", type=int, nargs="+", default=[25, 1000], help="cars to draw")
    parser.add_argument("--minutes", type=float, default=30, help="CPU minutes of training")
    parser.add_argument("--pictures", type=int, default=5000, help="drawn to measure quality")
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
        names = [name for name in CONTESTANTS[what] if name in (arguments.only or [name])]
        BENCHES[what](names, arguments)


def training(names: list[str], arguments) -> None:
    """Time training steps, and hold them against the machine's matrix products."""
    requests = [("rate", library, {}) for library in ("numpy", "torch")]
    for name in names:
        requests.append(("train", name, {"images": FEW_IMAGES.get(name, arguments.images)}))
    numpy_rates, torch_rates, *reports = in_turns(requests, arguments)
    rates = {
        "numpy": median(numpy_rates, "gigaflops"),
        "torch": median(torch_rates, "gigaflops"),
    }
    rows = []
    for name, found in zip(names, reports, strict=True):
        row = training_row(name, found)
        operations = row["images per second"] * OPERATIONS_A_STEP * 2 * found[-1]["multiply_adds"]
        share = round(operations / max(rates.values()) / 1e9, 3)
        rows.append(row | {"share of the matrix-product rate": share})
    about = {"matrix_product_gigaflops": rates, **about_rounds(reports, arguments)}
    write_results("peers-training", rows, arguments.results, **about)


def training_row(name: str, reports: list[dict]) -> dict:
    last = reports[-1]
    speed, cpu_speed = (
        statistics.median(each["images"] / each[seconds] for each in reports)
        for seconds in ("seconds", "loop_cpu_seconds")
    )
    return {
        "what": name,
        "size": last["image_size"],
        "batch": last["batch"],
        "parameters": last["parameters"],
        "million multiply-adds an image": round(last["multiply_adds"] / 1e6, 1),
        "images per second": round(speed, 2),
        "images per CPU second": round(cpu_speed, 2),
        "seconds until the first step is done": round(median(reports, "first_seconds"), 1),
        "images": last["images"],
        **whole_process(reports),
    }


def drawing(names: list[str], arguments) -> None:
    """Time drawing in 16 steps, from the start of the process and again."""
    requests = [
        ("draw", name, {"pictures": pictures}) for name in names for pictures in arguments.drawn
    ]
    reports = in_turns(requests, arguments)
    rows = [
        {
            "what": name,
            **request,
            "pictures per second": round(request["pictures"] / median(found, "seconds"), 1),
            "seconds from the start until drawn": round(median(found, "first_seconds"), 1),
            "seconds to draw again": round(median(found, "seconds"), 2),
            **whole_process(found),
        }
        for (_, name, request), found in zip(requests, reports, strict=True)
    ]
    about = about_rounds(reports, arguments)
    write_results("peers-drawing", rows, arguments.results, **about)


def quality(names: list[str], arguments) -> None:
    """Train every contestant for the same CPU time, and measure what it draws."""
    from diffusion_core.evaluation import compare  # now, so that it fails before the training

    arguments.scratch.mkdir(parents=True, exist_ok=True)
    scratch = arguments.scratch.resolve()
    training_cars, held_out = load_cars(), load_cars("test")
    cars = normalize(training_cars)
    np.save(scratch / "cars.npy", cars)
    np.save(scratch / "noise.npy", gaussian_noise(arguments.pictures, seed=arguments.seed))
    np.save(scratch / "training-cars.npy", training_cars[: arguments.pictures])
    # keras.io's example measures its training pictures once, before it trains.
    measured = {"mean": cars.mean((0, 1, 2)).tolist(), "deviation": cars.std((0, 1, 2)).tolist()}
    for name in ("training cars", *names):
        most = ARTICLES_PICTURES if name == "article" else arguments.pictures
        asked = {"minutes": arguments.minutes, "seed": arguments.seed}
        asked["pictures"] = min(most, arguments.pictures)
        if name == "training cars":  # no network, but what the best one can reach
            asked["minutes"] = 0
            found = {"steps": 0, "images": 0, "train_seconds": 0.0, "versions": {}}
            found["drawn"] = {"none": scratch / "training-cars.npy"}
        # Read every time, since another process may have added its own contestant meanwhile.
        if holds(read_results("peers-quality", arguments.results)["rows"], name, asked):
            continue
        if name != "training cars":
            request = {"scratch": str(scratch), "settings": measured if name == "ddim" else {}}
            found = child("quality", name, arguments, **request, **asked)
        about = {
            "steps": found["steps"],
            "training images": found["images"],
            "training seconds": round(found["train_seconds"], 1),
        }
        rows = [
            {"what": name, **asked, "weights": weights, **about, **compare(np.load(path), held_out)}
            for weights, path in found["drawn"].items()
        ]
        saved = read_results("peers-quality", arguments.results)
        versions = saved.get("versions", {}) | found["versions"]
        rows = saved["rows"] + rows
        write_results("peers-quality", rows, arguments.results, versions=versions)


def holds(rows: list[dict], name: str, asked: dict) -> bool:
    """Return whether the rows hold this contestant after the same budget already."""
    return any({"what": name, **asked}.items() <= row.items() for row in rows)


def in_turns(requests: list[tuple[str, str, dict]], arguments) -> list[list[dict]]:
    """Start every child once a round, and return the reports of each."""
    rounds = [
        [child(do, name, arguments, **request) for do, name, request in requests]
        for _ in range(arguments.rounds)
    ]
    return [list(reports) for reports in zip(*rounds, strict=True)]


def child(do: str, name: str, arguments, **request) -> dict:
    script = SCRIPTS.get(name, "keras_peers.py")
    python = sys.executable if script == "keras_peers.py" else arguments.peer_python
    return run_child(python, script, do, name, **request)


def median(reports: list[dict], value: str) -> float:
    return statistics.median(report[value] for report in reports)


def whole_process(reports: list[dict]) -> dict:
    return {
        "seconds, whole process": round(median(reports, "whole_seconds"), 1),
        "CPU seconds, whole process": round(median(reports, "cpu_seconds"), 1),
        "peak memory, MB": round(median(reports, "peak_megabytes")),
    }


def about_rounds(reports: list[list[dict]], arguments) -> dict:
    """Return the number of rounds, and every package version that some contestant ran on."""
    versions = {k: v for found in reports for k, v in found[-1]["versions"].items()}
    return {"rounds": arguments.rounds, "seed": 0, "versions": versions}


BENCHES = {"training": training, "drawing": drawing, "quality": quality}

if __name__ == "__main__":
    main()
