"""The terminal: `python -m diffusion_core train`, `sample` and `evaluate`.

The options are checked before TensorFlow is loaded, which takes seconds.
"""

import argparse
import inspect
import io
import json
import os
import sys
import warnings
from contextlib import suppress

from diffusion_core.checks import COUNT, PATH, SEED, SIDE, YEAR, number, short_repr, whole
from diffusion_core.runs.files import Display
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedule import TIMESTEPS
from diffusion_core.sources.cifar10 import LABELS


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    That is 1 after one sentence on standard error about what is wrong, and 130 after Ctrl-C. A
    wrong option ends with 2 and SIGTERM with 143, by way of `SystemExit`.
    """
    options = vars(_parser().parse_args(arguments))
    name, run = options.pop("command"), options.pop("run")
    try:
        run(**options)
    except (ValueError, TypeError, OSError, MemoryError) as error:
        print(f"diffusion_core {name}: {error if str(error) else repr(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser():
    text = "Train the car network, draw cars with it, judge them."
    parser = argparse.ArgumentParser("python -m diffusion_core", description=text)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run):
        texts = {"help": run.__doc__.splitlines()[0], "description": inspect.getdoc(run)}
        plain = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(run.__name__, formatter_class=plain, **texts)
        added.set_defaults(run=run)
        return added

    count, seed, path = _option(COUNT, int), _option(SEED, int), _option(PATH)
    steps, minutes = _option(TIMESTEPS, int), _option(number(YEAR), float)

    def add_network(add):
        add(
            "--weights",
            help="a shipped network, or a file or folder of train (small; with a label, ten)",
        )
        text = "draw away from a weaker network, so strongly (1: not at all)"
        add("--guidance", type=_option(number(100), float), help=text)
        add(
            "--guide",
            help="the weaker network (small: an earlier epoch; ten: itself, for any class)",
        )
        add("--label", choices=LABELS, help="what to draw, of a network that knows classes")

    add = command(train).add_argument
    add("--epochs", type=count, required=True, help="the last epoch of the run")
    add("--batch-size", type=count, default=64, help="images a step (64)")
    add("--seed", type=seed, default=0, help="decides every draw (0)")
    add("--start", help="begin with the weights of such a network (new ones)")
    add("--teacher", help="learn the jumps of such a network, or with labels its guided answers")
    add("--weights-dir", type=path, help="where states and previews are written")
    add("--save-minutes", type=minutes, default=10, help="save so often within epochs too (10)")
    add("--devices", type=count, help="share every batch among so many GPUs")
    add("--data", type=path, dest="own", help="a folder of pictures of your own (CIFAR-10's cars)")
    add("--size", type=_option(SIDE, int), default=32, help="pixels of a side of those (32)")
    add("--labels", choices=["all"], help="learn all ten classes of CIFAR-10")
    add("--images", type=count, help="use only so many of them (all)")

    add = command(sample).add_argument
    add("--n", type=count, default=25, help="how many cars (25)")
    add("--steps", type=steps, default=16, help="steps from noise to car (16)")
    add("--sampler", choices=SAMPLERS, default="euler", help="the rule of a step (euler)")
    add("--seed", type=seed, default=0, help="same seed, same cars (0)")
    add_network(add)
    text = "a grid (.png), its way from noise (.gif) or pixels (.npy)"
    add("--out", type=_file(".png", ".gif", ".npy"), required=True, help=text)

    parser_of_evaluate = command(evaluate)
    add = parser_of_evaluate.add_argument
    add_network(add)
    add("--n", type=count, default=5000, help="how many cars (5000)")
    add("--seed", type=seed, default=0, help="of the drawn cars (0)")
    names = ("classifier", "inception")
    add("--features", choices=names, default="classifier", help="the measure to use (classifier)")
    crowds, either = ("held-out", "train"), parser_of_evaluate.add_mutually_exclusive_group()
    text = "train to choose, held-out to judge"
    either.add_argument("--against", choices=crowds, default="held-out", help=text)
    text = "compare with this folder of your own pictures instead of CIFAR-10's cars"
    either.add_argument("--data", type=path, dest="own", help=text)
    add("--out", type=_file(".json"), help="write everything to this file (.json)")
    return parser


def _option(kind, read=str):
    """Make the type of an option: its text is read, and then checked by the kind."""

    def parse(text):
        value = text
        with suppress(ValueError):  # the kind says what was expected
            value = read(text)
        try:
            return kind("the value", value)
        except (TypeError, ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(error) from None

    return parse


def _file(*endings):
    """Make the type of a file to write: what cannot be is refused before minutes of drawing."""
    expected = f"a file that ends in {' or '.join(endings)}, in a folder that can be written"

    def kind(name, value):
        path = PATH(name, value)
        there = next((folder for folder in path.absolute().parents if folder.exists()), path)
        writable = there.is_dir() and os.access(there, os.W_OK)
        if path.suffix not in endings or path.is_dir() or not writable:
            raise ValueError(f"{name} is {short_repr(value)}; expected {expected}.")
        return path

    return _option(kind)


def train(own, size, labels, images, devices, start, teacher, weights_dir, seed, **options):
    """Train on the CIFAR-10 cars or on pictures of your own, or go on from the latest state.

    python -m diffusion_core train --epochs 20                                 # up to epoch 20
    python -m diffusion_core train --epochs 2 --images 640 --weights-dir try   # a quick look
    python -m diffusion_core train --epochs 9 --start small --weights-dir mine # further on
    python -m diffusion_core train --epochs 99 --data photos --weights-dir mine
    python -m diffusion_core train --epochs 99 --data photos --size 64 --weights-dir large
    python -m diffusion_core train --epochs 20 --teacher small --weights-dir jumps
    python -m diffusion_core train --epochs 20 --labels all --weights-dir ten
    python -m diffusion_core train --epochs 20 --labels all --teacher ten --weights-dir guided
    """
    if teacher and (own or devices or (images and not labels)):
        raise ValueError(
            "a teacher needs no pictures of yours and one device; leave out --data and --devices, "
            "and, without --labels, --images."
        )
    if own and labels:
        raise ValueError("pictures of your own have no labels here; leave out --labels or --data.")
    import keras

    from diffusion_core import classes, data, jumps, model, sampling, training
    from diffusion_core.guidance import guided
    from diffusion_core.page.figures import image_grid, png_bytes
    from diffusion_core.runs import files, states
    from diffusion_core.runs.devices import spread
    from diffusion_core.sources import folders

    keras.utils.set_random_seed(seed)  # the first weights are draws too
    begin, shape = start or teacher, (size, size, 3)
    network = model.load_pretrained(begin) if begin else model.make_model(image_shape=shape)
    folder = weights_dir or files.default_weights_dir()

    def preview(epoch, network, history):
        try:
            drawer = classes.of_class(network, None) if network.settings["classes"] else network
            grid = png_bytes(image_grid(sampling.predict(drawer, 25), scale=2))
            path = folder / f"preview-epoch-{epoch:03d}.png"
            files.write_atomically(path, grid, make_folder=False)
            # 1, 2, 5, 10, 20, 50, …: enough to watch a network learn.
            if str(epoch).rstrip("0") in ("1", "2", "5"):
                states.export(network, folder / f"epoch-{epoch:03d}.safetensors")
        except Exception as error:  # training must not end for the sake of a picture
            warnings.warn(f"Epoch {epoch} has no preview: {error!r}.", stacklevel=2)

    options |= {"seed": seed, "weights_dir": folder, "callback": preview, "callback_every": 1}
    if teacher and not labels:
        walker, _ = _load(teacher, 3.0 if teacher == "small" else None, None, None)
        pupil = network if network.settings["jumps"] else jumps.jumper(network)
        print(f"{teacher} is the teacher; states and previews go to {folder.absolute()}")
        jumps.train_jumps(pupil, walker, **options)
        return
    numbers = None
    if labels:
        pictures, numbers = classes.load_classes()
        if not network.settings["classes"]:
            settings = {**network.settings, "classes": 10}
            network = states.adopt(model.make_model(**settings), network)
    else:
        pictures = folders.load_folder(own, size) if own else data.load_cars()
    used = slice(whole(1, len(pictures))("--images", images or len(pictures)))
    pictures = data.normalize(pictures[used])
    numbers = numbers if numbers is None else numbers[used]
    if teacher:  # of the strength that bench/classes.py chose, away from itself for any class
        known = model.load_pretrained(teacher)
        anything = classes.of_class(known, None)
        options["teacher"] = guided(known, anything, classes.within(3, 0.2, 0.8))
    print(f"{len(pictures)} pictures; states and previews go to {folder.absolute()}")
    if devices:
        network = spread(network, devices)
    training.train(network, pictures, labels=numbers, **options)


def sample(n, steps, sampler, seed, weights, guidance, guide, label, out):
    """Draw cars from noise.

    python -m diffusion_core sample --out cars.png                     # 25 cars in one picture
    python -m diffusion_core sample --guidance 3 --out better.png      # away from a weaker self
    python -m diffusion_core sample --steps 8 --sampler heun --out h.png
    python -m diffusion_core sample --n 9 --out way.gif                # from noise to cars
    python -m diffusion_core sample --n 1000 --seed 7 --out cars.npy   # uint8 (1000, 32, 32, 3)
    python -m diffusion_core sample --weights weights --out mine.png   # your own latest weights
    python -m diffusion_core sample --label ship --guidance 2 --out ships.png
    """
    network, _ = _load(weights, guidance, guide, label)

    import numpy as np

    from diffusion_core import denormalize, linear_schedule, predict, predict_step
    from diffusion_core.page.figures import gif_bytes, image_grid, png_bytes
    from diffusion_core.runs.files import write_atomically

    if out.suffix != ".npy":  # what no picture can show is refused before it is drawn
        image_grid(np.zeros((1, *network.input_shape[0][1:])))
    draw = predict_step if out.suffix == ".gif" else predict
    drawn = draw(network, n, linear_schedule(steps), seed, sampler=sampler)
    cars, file = denormalize(drawn), io.BytesIO()
    if out.suffix == ".gif":
        file.write(gif_bytes([image_grid(state, scale=2) for state in cars]))
    elif out.suffix == ".png":
        file.write(png_bytes(image_grid(cars, scale=2)))
    else:
        np.save(file, cars)
    write_atomically(out, file.getvalue())
    print(f"{n} cars are in {str(out)!r}")  # a name may hold bytes that are no text


def evaluate(weights, guidance, guide, label, n, seed, out, own, **options):
    """Measure whether drawn cars are good, and new.

    python -m diffusion_core evaluate --out evaluation.json        # the shipped network
    python -m diffusion_core evaluate --against train --guidance 3 # to choose a setting
    python -m diffusion_core evaluate --weights weights --n 1000   # your own, less exact
    python -m diffusion_core evaluate --weights mine --data photos # with what it was trained on
    """
    if label not in (None, "automobile"):
        raise ValueError(
            f"--label is {label}, and pictures are compared with cars; expected automobile."
        )
    network, about = _load(weights, guidance, guide, label)

    from diffusion_core import evaluation
    from diffusion_core.page.machine import describe_machine
    from diffusion_core.page.tables import as_table
    from diffusion_core.runs.files import write_atomically
    from diffusion_core.sources import features, folders

    if own:
        features.check_judged(network)  # before a folder of thousands is read
        options["against"] = folders.load_folder(own)
    found = evaluation.evaluate(network, n, seed, **options)
    if out:
        content = {**about, "machine": describe_machine(), **found}
        write_atomically(out, json.dumps(content, indent=1).encode())
    print(as_table(found))


def _load(weights, guidance, guide, label):
    """Return the network that the options name, guided or not, and what results say of it."""
    from diffusion_core import guided, load_pretrained, of_class
    from diffusion_core.runs.states import weights_digest
    from diffusion_core.sources.pretrained import GUIDE

    weights = weights or ("ten" if label else "small")
    network, asked = load_pretrained(weights), (guidance, guide) != (None, None)
    knows = network.settings["classes"]
    if label and not knows:
        raise ValueError(f"{weights} knows no classes; leave out --label, or take --weights ten.")
    if asked and not (knows or guide or weights == "small"):
        raise ValueError(f"{weights} has no guide of its own; name a weaker network by --guide.")
    told = of_class(network, label) if knows else network
    if asked:
        guide = guide or (None if knows else GUIDE)
        weak = load_pretrained(guide) if guide else of_class(network, None)
        weak = of_class(weak, label) if len(weak.inputs) == 4 else weak
        guidance = 3.0 if guidance is None else guidance
        told = guided(told, weak, guidance)
    about = {"weights": weights, "label": label, "guide": guide, "guidance": guidance}
    return told, about | {"network": weights_digest(told)}


if __name__ == "__main__":
    for name in ("stdout", "stderr"):
        # Where one is closed, the next file that is opened would take its place.
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Display(stream))
    sys.exit(main())
