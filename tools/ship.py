"""Make the shipped files of the network "small" from the folder that a training run wrote.

    python tools/ship.py WEIGHTS_DIR [--stand-in]
    python tools/ship.py WEIGHTS_DIR --jumps
    python tools/ship.py WEIGHTS_DIR --ten
    python tools/ship.py WEIGHTS_DIR --ten-guided

The second line ships its pupil "jumps", the third the network of ten classes with its guide, the
fourth its pupil that learned to be guided: weights, history and a model card of its own, with what
bench/jumps.py or bench/classes.py finds. The first one writes to diffusion_core/pretrained/: the
averaged weights as float16, those of earlier epochs, the history with the machine and the model
card, and, if asked, the stand-in sheet of 1,024 guided cars (seed 0); the first 100 cars to
book/_static/cars.png; and what `evaluate` finds, alone and guided, to bench/results/evaluation.json
and evaluation-guided.json. Run it on the machine that trained, with all of CIFAR-10 at hand, after
the guide was chosen (bench/guidance.py).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from diffusion_core import __main__ as terminal
from diffusion_core import data, model, sampling, schedule
from diffusion_core.guidance import guided
from diffusion_core.page import figures
from diffusion_core.page.machine import describe_machine
from diffusion_core.page.notebook import table
from diffusion_core.page.tables import as_table
from diffusion_core.runs import states
from diffusion_core.runs.files import write_atomically
from diffusion_core.sources.cifar10 import STAND_IN
from diffusion_core.sources.pretrained import GUIDE, GUIDES, PRETRAINED
from diffusion_core.training import draw_batch

EARLIER_EPOCHS = (5, 20, 50)
ROOT = Path(__file__).parents[1]
NUMBERS = ("frechet distance", "precision", "recall", "taken for its class")
# The bench that judges a network, the rows of its file that the card shows, and their columns.
JUDGED = {
    "jumps": ("jumps", lambda row: True, ("network", "steps", *NUMBERS[:3])),
    "ten": ("classes", lambda row: row["rule"] != "real", ("against", "rule", "w", *NUMBERS)),
    "ten-guided": ("classes", lambda row: row["rule"] == "learned", NUMBERS),
}
CARDS = ROOT / "tools"


def main(weights_dir: Path, stand_in: bool) -> None:
    """Write every shipped file; the stand-in sheet, which is large, only if asked."""
    about = ship("small", weights_dir)
    for name in (f"epoch-{epoch:03d}.safetensors" for epoch in EARLIER_EPOCHS):
        shutil.copyfile(weights_dir / name, PRETRAINED / f"small-{name}")
    # Drawn with the shipped float16 weights, so that anyone can draw the same sheet.
    network = guided(model.load_pretrained(), model.load_pretrained(GUIDE))
    cars = data.denormalize(sampling.predict(network, 1024))
    if stand_in:
        sheet = cars.reshape(32, 32, 32, 32, 3).swapaxes(1, 2).reshape(1024, 1024, 3)
        write_atomically(STAND_IN, figures.png_bytes(sheet))
    grid = figures.image_grid(cars[:100], scale=2)
    write_atomically(ROOT / "book" / "_static" / "cars.png", figures.png_bytes(grid))
    results = ROOT / "bench" / "results"
    for name, options in (("evaluation", []), ("evaluation-guided", ["--guidance", "3"])):
        if code := terminal.main(["evaluate", *options, "--out", str(results / f"{name}.json")]):
            sys.exit(code)
    evaluation = as_table(json.loads((results / "evaluation.json").read_text()))
    guide = GUIDE.removeprefix("small-epoch-")
    write_card(
        "README",
        about,
        model.load_pretrained(),
        evaluation,
        guide=guide,
        unchanged=unchanged_loss(),
        seed=about["configuration"]["seed"],
    )


def ship_judged(name: str, weights_dir: Path) -> None:
    """Write the files of another network, and measure it by the bench that judges it."""
    bench, wanted, columns = JUDGED[name]
    about = ship(name, weights_dir)
    if name in GUIDES:
        guide = f"{GUIDES[name].removeprefix(f'{name}-')}.safetensors"
        shutil.copyfile(weights_dir / guide, PRETRAINED / f"{name}-{guide}")
    subprocess.run([sys.executable, ROOT / "bench" / f"{bench}.py"], check=True)
    rows = json.loads((ROOT / "bench" / "results" / f"{bench}.json").read_text())["rows"]
    rows = [row for row in rows if wanted(row)]
    shown = [column for column in columns if column in NUMBERS]
    rows = [row | {column: f"{row[column]:.2f}" for column in shown} for row in rows]
    evaluation = table(rows, list(columns)).data
    write_card(name, about, model.load_pretrained(name), evaluation, **about["configuration"])


def ship(name: str, weights_dir: Path) -> dict:
    """Write weights and history of a network; return what its newest state says of itself."""
    about = states.read_about(states.find_latest(weights_dir))
    states.export(model.load_pretrained(weights_dir), PRETRAINED / f"{name}.safetensors")
    content = json.dumps({"machine": describe_machine(), "history": about["history"]}, indent=1)
    write_atomically(PRETRAINED / f"{name}-history.json", content.encode())
    return about


def write_card(name: str, about: dict, network, evaluation: str, **more) -> None:
    """Fill in the model card of a network."""
    history = about["history"]
    card = (
        (CARDS / f"card-{name}.md")
        .read_text()
        .format(
            settings=", ".join(f"{name} {value}" for name, value in about["settings"].items()),
            parameters=network.count_params(),
            epochs=history["epoch"][-1],
            steps=history["step"][-1],
            hours=sum(history["seconds"]) / 3600,
            first_loss=history["loss"][0],
            last_loss=history["loss"][-1],
            evaluation=evaluation,
            **more,
            **describe_machine(),
        )
    )
    write_atomically(PRETRAINED / f"{name}.md", card.encode())


def unchanged_loss() -> float:
    """Return the loss, over one epoch of questions, of answering with the picture unchanged."""
    cars = data.normalize(data.load_cars())
    (question, *_), answer = draw_batch(cars, schedule.linear_schedule(), seed=0, step=0)
    return float(abs(question - answer).mean())


if __name__ == "__main__":
    asked = [name for name in JUDGED if f"--{name}" in sys.argv]
    if asked:
        ship_judged(asked[0], Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), stand_in="--stand-in" in sys.argv)
