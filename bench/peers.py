"""Compare our network with its peers, and with itself at other sizes.

    python bench/peers.py --peer-python PYTHON                  # everything
    python bench/peers.py training drawing --peer-python PYTHON --rounds 3
    python bench/peers.py quality --peer-python PYTHON --minutes 30 --scratch FOLDER
    python bench/peers.py size memory                           # ours alone: needs no PYTHON

PYTHON is the interpreter of an environment with bench/requirements.txt. keras_peers.py and
torch_peers.py say who the contestants are. Each runs in a process of its own, several rounds in
turns, and medians are written: of training steps, also with other batches, pictures and widths, to
results/peers-training.json and growth.json, of drawing to peers-drawing.json. memory.json holds the
most that a process holds; its first row is what the libraries hold before anything is computed.
`quality`, to peers-quality.json, is one round of training for equal CPU time. It needs CIFAR-10,
and passes over contestants that its results file holds already. There all start from the same
noise, and each keeps its own recipe: ours and diffusers flip the pictures, the article and
keras.io's example do not. Compiling counts.
"""

import statistics
import sys
from pathlib import Path

import numpy as np
from process import SEED, WARM_UP, run_child
from recording import read_results, run_benches, write_results

from diffusion_core import gaussian_noise, load_cars, normalize
from diffusion_core.evaluation import compare

# How each is made, in the module that has it.
KERAS = {
    "ours": "ours()",
    "ours-no-xla": "ours(xla=False)",
    "article": "article()",
    "article-xla": "article(xla=True)",
    "ddim": "ddim()",
}
TORCH = {"twin": "twin()", "twin-compiled": "twin(compiled=True)", "diffusers": "diffusers()"}
DRAWERS = {
    "predict": "draw_by_predict()",
    "model-predict": "draw_by_model_predict()",
    "diffusers": "draw_by_diffusers()",
}
JUDGED = ("training cars", "ours", "article", "ddim", "diffusers")
PICTURES = (25, 1000)  # to draw
ARTICLES_PICTURES = 1000  # it draws slowly
SIZES = [{"batch": batch} for batch in (16, 32, 64, 128, 256)]
SIZES += [{"size": 64}, {"widths": (16, 32, 64)}, {"widths": (64, 128, 256)}]
HELD = [("nothing yet", 0, "{}")]
# The warm-up is all that is trained.
HELD += [("training", n, f"train_some(ours(batch={n}), 0)") for n in (16, 64, 128)]
HELD += [("drawing", n, f"draw_some(draw_by_predict({n}), {n})") for n in (25, 100, 400)]
# glibc keeps freed memory, as it does for us (runs/devices.py): PyTorch is faster with it too.
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_MAX_": "0"}
OPERATIONS_A_STEP = 3  # in passes through the network: one forward, and back twice as much


def training(arguments) -> None:
    """Time training steps, and hold them against the machine's matrix products."""
    makers = KERAS | TORCH
    calls = [("numpy", "matrix_product_rate('numpy')"), ("torch", "matrix_product_rate('torch')")]
    calls += [(name, f"train_some({make}, {arguments.images})") for name, make in makers.items()]
    numpy_rate, torch_rate, *reports = in_turns(calls, arguments)
    rates = {"numpy": numpy_rate["gigaflops"], "torch": torch_rate["gigaflops"]}
    rows = []
    for name, found in zip(makers, reports, strict=True):
        operations = found["images_per_second"] * OPERATIONS_A_STEP * 2 * found["multiply_adds"]
        share = round(operations / max(rates.values()) / 1e9, 3)
        rows.append(training_row(name, found) | {"share of the matrix-product rate": share})
    about = {"matrix_product_gigaflops": rates, **about_rounds(reports, arguments)}
    write_results("peers-training", rows, arguments.results, **about)


def training_row(name: str, found: dict) -> dict:
    return {
        "what": name,
        "size": found["size"],
        "batch": found["batch"],
        "parameters": found["parameters"],
        "million multiply-adds an image": round(found["multiply_adds"] / 1e6, 1),
        "images per second": round(found["images_per_second"], 2),
        "peak memory, MB": round(found["peak_megabytes"]),
    }


def drawing(arguments) -> None:
    """Time drawing in 16 steps, from the start of the process and again."""
    asked = [(name, pictures) for name in DRAWERS for pictures in PICTURES]
    calls = [(name, f"draw_some({DRAWERS[name]}, {pictures})") for name, pictures in asked]
    reports = in_turns(calls, arguments)
    rows = [
        {
            "what": name,
            "pictures": pictures,
            "pictures per second": round(pictures / found["seconds"], 1),
            "seconds from the start until drawn": round(found["first_seconds"], 1),
            "seconds to draw again": round(found["seconds"], 2),
            "peak memory, MB": round(found["peak_megabytes"]),
        }
        for (name, pictures), found in zip(asked, reports, strict=True)
    ]
    write_results("peers-drawing", rows, arguments.results, **about_rounds(reports, arguments))


def quality(arguments) -> None:
    """Train every contestant for the same CPU time, and measure what it draws."""
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    scratch = str(arguments.scratch.resolve())
    cars, held_out = normalize(load_cars()), load_cars("test")
    np.save(f"{scratch}/cars.npy", cars)
    np.save(f"{scratch}/noise.npy", gaussian_noise(arguments.pictures, seed=SEED))
    # keras.io's example measures its training pictures once, before it trains.
    measured = cars.mean((0, 1, 2)).tolist(), cars.std((0, 1, 2)).tolist()
    makers = {**KERAS, **TORCH, "training cars": "training_cars()", "ddim": f"ddim(*{measured})"}
    for name in JUDGED:
        most = ARTICLES_PICTURES if name == "article" else arguments.pictures
        minutes = 0 if name == "training cars" else arguments.minutes
        asked = {"minutes": minutes, "seed": SEED, "pictures": min(most, arguments.pictures)}
        saved = read_results("peers-quality", arguments.results)
        if any({"what": name, **asked}.items() <= row.items() for row in saved["rows"]):
            continue
        what = f"{makers[name]}, {name!r}, {scratch!r}, {minutes}, {asked['pictures']}"
        found = child(name, f"train_and_draw({what})", arguments)
        asked |= {"steps": found["steps"], "training images": found["images"]}
        asked["training seconds"] = round(found["train_seconds"], 1)
        rows = saved["rows"] + [
            {"what": name, "weights": weights, **asked, **compare(np.load(path), held_out)}
            for weights, path in found["drawn"].items()
        ]
        versions = saved.get("versions", {}) | found["versions"]
        write_results("peers-quality", rows, arguments.results, versions=versions)


def size(arguments) -> None:
    """Time training and its peak memory, changing one of batch, picture and widths at a time."""
    calls = [("ours", f"train_some(ours(**{each}), {arguments.images})") for each in SIZES]
    rows = []
    for each, found in zip(SIZES, in_turns(calls, arguments), strict=True):
        widths = "/".join(map(str, each.get("widths", (32, 64, 128))))
        rows.append({"what": "ours", "widths": widths, **training_row("ours", found)})
    write_results("growth", rows, arguments.results, rounds=arguments.rounds, seed=SEED)


def memory(arguments) -> None:
    """Note the peak memory of training and of drawing so many images at once."""
    rows = []
    for what, n, call in HELD:
        peak = round(child("ours", call, arguments)["peak_megabytes"])
        rows.append({"what": what, "images at once": n, "peak, MB": peak})
    about = {"backend": "tensorflow", "precision": "float32", "steps": WARM_UP}
    write_results("memory", rows, arguments.results, **about)


def in_turns(calls: list[tuple[str, str]], arguments) -> list[dict]:
    """Start every child once a round, and return one report of each, with medians of the times."""
    rounds = [[child(*call, arguments) for call in calls] for _ in range(arguments.rounds)]
    return [
        {
            key: statistics.median(report[key] for report in reports)
            if isinstance(value, float)
            else value
            for key, value in reports[-1].items()
        }
        for reports in zip(*rounds, strict=True)
    ]


def child(name: str, call: str, arguments) -> dict:
    if name in TORCH:
        return run_child(arguments.peer_python, "torch_peers", call, KEPT)
    if name in ("numpy", "torch"):
        return run_child(arguments.peer_python, "process", call)
    return run_child(sys.executable, "keras_peers", call)


def about_rounds(reports: list[dict], arguments) -> dict:
    """Return the number of rounds, and every package version that some contestant ran on."""
    versions = {k: v for found in reports for k, v in found["versions"].items()}
    return {"rounds": arguments.rounds, "seed": SEED, "versions": versions}


if __name__ == "__main__":
    options = {"rounds": 5, "images": 1280, "minutes": 30.0, "pictures": 5000}
    options |= {"peer_python": sys.executable, "scratch": Path("_build/peers")}
    run_benches((training, drawing, quality, size, memory), __doc__, **options)
