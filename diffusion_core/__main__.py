"""The terminal: `python -m diffusion_core train`, `sample` and `evaluate`.

The options are checked before TensorFlow is loaded, which takes seconds.
"""

import argparse
import io
import json
import os
import re
import sys
import warnings
from pathlib import Path

from diffusion_core.checks import YEAR, brief

EXAMPLES = {
    "train": """examples:
  python -m diffusion_core train --epochs 20
      start in the default folder, or go on there, up to epoch 20
  python -m diffusion_core train --epochs 2 --images 640 --weights-dir /tmp/try
      a quick look: 640 cars, 2 epochs""",
    "sample": """examples:
  python -m diffusion_core sample --out cars.png
      25 cars of the shipped network, as one picture
  python -m diffusion_core sample --n 1000 --seed 7 --out cars.npy
      1,000 cars as uint8 (1000, 32, 32, 3)
  python -m diffusion_core sample --weights weights --out mine.png
      the cars of your own latest weights""",
    "evaluate": """examples:
  python -m diffusion_core evaluate --out evaluation.json
      5,000 cars of the shipped network against the 1,000 held-out cars
  python -m diffusion_core evaluate --weights weights --n 1000
      your own latest weights, quicker and less exact""",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 after one sentence on standard error about what is wrong; 130 after Ctrl-C. An unknown
        option ends with the exit code 2 and SIGTERM with 143, by way of `SystemExit`.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, TypeError, OSError, MemoryError) as error:
        print(f"diffusion_core {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m diffusion_core",
        description="Train the car network, draw cars with it, judge them.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run, text):
        added = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added.add_argument

    count, seed, path = _whole(1), _whole(0), _path
    add = command(
        "train", _train, "Train on the CIFAR-10 cars, or go on from the latest saved state."
    )
    add("--epochs", type=count, required=True, help="the last epoch of the run")
    add("--batch-size", type=count, default=64, help="images a step (64)")
    add("--seed", type=seed, default=0, help="decides every draw (0)")
    add("--weights-dir", type=path, help="where states and previews are written")
    add("--save-minutes", type=_minutes, default=10, help="save so often within epochs too (10)")
    add("--devices", type=count, help="share every batch among so many GPUs")
    add("--images", type=count, help="use only so many of the 5,000 cars")

    weights = {"default": "small", "help": "a shipped network or a folder (small)"}
    add = command("sample", _sample, "Draw cars from noise.")
    add("--n", type=count, default=25, help="how many cars (25)")
    add("--steps", type=_whole(1, 10_000), default=16, help="steps from noise to car (16)")
    add("--seed", type=seed, default=0, help="same seed, same cars (0)")
    add("--weights", **weights)
    add("--out", type=path, required=True, help="a grid (.png) or all pixels (.npy)")

    add = command("evaluate", _evaluate, "Measure whether drawn cars are good, and new.")
    add("--weights", **weights)
    add("--n", type=count, default=5000, help="how many cars (5000)")
    add("--seed", type=seed, default=0, help="of the drawn cars (0)")
    names = ("classifier", "inception")
    add("--features", choices=names, default="classifier", help="the measure to use (classifier)")
    add("--out", type=path, help="write everything to this file (.json)")
    return parser


def _whole(least, most=2**32 - 1):
    def parse(text):
        # Ten digits, since Python refuses to read thousands of them.
        if not re.fullmatch(r"\d{1,10}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{brief(text)} is not a whole number from {least} to {most}"
            )
        return int(text)

    return parse


def _minutes(text):
    # float() takes "nan" and "inf" too, and no number of minutes is longer than a year.
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text) or float(text) > YEAR:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a number of minutes")
    return float(text)


def _path(text):
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a path")
    return Path(text)


def _check_out(path, *endings):
    """Raise before minutes of drawing, not after."""
    shown = f"--out is {brief(str(path))}"
    if path.suffix not in endings:
        raise ValueError(f"{shown}; expected a name that ends in {' or '.join(endings)}.")
    if path.is_dir():
        raise IsADirectoryError(f"{shown}, a folder; expected the name of a file.")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{shown}, but {there} is a file; expected a folder there.")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{shown}, but {there} cannot be written; give another folder.")


def _train(options):
    from diffusion_core import data

    cars = data.normalize(data.load_cars())
    if (options.images or 0) > len(cars):
        raise ValueError(f"--images is {options.images}; there are {len(cars)} cars.")
    cars = cars[: options.images]

    import keras

    from diffusion_core import model, sampling, training
    from diffusion_core.page import figures
    from diffusion_core.runs import devices, files, states

    folder = options.weights_dir or files.default_weights_dir()
    print(f"{len(cars)} cars; states and previews go to {folder.resolve()}")

    def preview(epoch, network, history):
        grid = figures.png_bytes(figures.image_grid(sampling.predict(network, 25), scale=2))
        try:
            path = folder / f"preview-epoch-{epoch:03d}.png"
            files.write_atomically(path, grid, make_folder=False)
            # 1, 2, 5, 10, 20, 50, …: enough to watch a network learn.
            if str(epoch).rstrip("0") in ("1", "2", "5"):
                states.export(network, folder / f"epoch-{epoch:03d}.safetensors")
        except OSError as error:
            warnings.warn(f"Epoch {epoch} has no preview: {error}.", stacklevel=2)

    # The first weights are draws too.
    keras.utils.set_random_seed(options.seed)
    network = model.make_model()
    if options.devices:
        network = devices.spread(network, options.devices)
    training.train(
        network,
        cars,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        weights_dir=folder,
        save_minutes=options.save_minutes,
        callback=preview,
        callback_every=1,
    )


def _load(weights):
    from diffusion_core import model

    try:
        return model.load_pretrained(weights)
    except ValueError as error:
        if not os.path.isdir(weights):
            raise ValueError(f"{error} A folder of saved states will do as well.") from None
    return model.load_weights_dir(weights)


def _sample(options):
    _check_out(options.out, ".png", ".npy")
    network = _load(options.weights)

    import numpy as np

    from diffusion_core import denormalize, linear_schedule, predict
    from diffusion_core.page import figures
    from diffusion_core.runs.files import write_atomically

    schedule = linear_schedule(options.steps)
    cars = denormalize(predict(network, options.n, schedule, options.seed))
    if options.out.suffix == ".png":
        content = figures.png_bytes(figures.image_grid(cars, scale=2))
    else:
        buffer = io.BytesIO()
        np.save(buffer, cars)
        content = buffer.getvalue()
    write_atomically(options.out, content)
    # A terminal hands over bytes that are no text as characters that cannot be printed.
    print(f"{options.n} cars are in {os.fsencode(options.out).decode(errors='replace')}")


def _evaluate(options):
    if options.out:
        _check_out(options.out, ".json")
    network = _load(options.weights)

    from diffusion_core import evaluation
    from diffusion_core.page.machine import describe_machine
    from diffusion_core.page.tables import as_table
    from diffusion_core.runs.files import write_atomically

    found = evaluation.evaluate(network, options.n, options.seed, features=options.features)
    print(as_table(found))
    if options.out:
        content = {"weights": options.weights, "machine": describe_machine(), **found}
        write_atomically(options.out, json.dumps(content, indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())
