"""Make the files of the live boxes: the networks for the browser, and a recorded run.

    python tools/live_files.py _build/live

strong.onnx, weak.onnx by which it is guided, and jumps.onnx of chapter 10 take `image` float32
(n, height, width, channels), `noise_level` and `next_noise_level` float32 (n, 1), with any n, and
give `next_image`; ten.onnx and ten-guided.onnx of the easel take `class_shares` (n, 11) too. Large
weights are stored as float16, as they are shipped, and cast to float32 when the file is loaded.
Exits with a sentence where one does not answer as Keras does. recorded/ holds draw-00.png to
draw-16.png (nine guided cars of seed 0, from noise to finished), jumps-00.png to jumps-04.png (by
the network that jumps), noise-00.png to noise-08.png (the first guided car on its way back),
cars.png (24 guided cars side by side), captions.json, skips.png and skips.json (what the U answers
without its skip connections).
"""

import json
import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import diffusion_core as core
from diffusion_core.page.figures import image_grid, png_bytes
from diffusion_core.runs.files import write_atomically
from diffusion_core.sources.pretrained import GUIDE

TOLERANCE = 1e-4  # of pictures in [-1, 1]; a step of 1 in 255 is 8e-3
LARGEST_FILE = 6_000_000
# Below this many numbers a Cast costs more than it saves.
FEWEST_NUMBERS = 256


def main(folder: Path) -> None:
    """Write the networks, once they are found to be right, and the run."""
    strong, weak = core.load_pretrained("small"), core.load_pretrained(GUIDE)
    networks = {
        "strong.onnx": strong,
        "weak.onnx": weak,
        "jumps.onnx": core.load_pretrained("jumps"),
        "ten.onnx": core.load_pretrained("ten"),
        "ten-guided.onnx": core.load_pretrained("ten-guided"),
    }
    for name, model in networks.items():
        content = to_onnx(model).SerializeToString()
        difference = largest_difference(model, content)
        print(f"{name}: {len(content):,} bytes, largest difference to Keras {difference:.1e}")
        # Written this way round, so that a difference that is not a number fails too.
        if not difference <= TOLERANCE:
            sys.exit(f"The network differs from that in Keras by more than {TOLERANCE:.0e}.")
        if len(content) > LARGEST_FILE:
            sys.exit(f"The exported network has more than {LARGEST_FILE:,} bytes.")
        write_atomically(folder / name, content)
    cars = record(core.guided(strong, weak), networks["jumps.onnx"], folder / "recorded")
    record_skips(strong, cars[:2], folder / "recorded")


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Return a network of `make_model` as ONNX, float32 inside, large weights stored as float16."""
    # Keras exports only a model that was called.
    model([np.zeros((1, *shape[1:]), np.float32) for shape in model.input_shape])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(path, format="onnx", verbose=False)
        exported = onnx.load(path)
    _name_output(exported.graph, "next_image")
    _name_batch_axis(exported.graph)
    _halve_weights(exported.graph)
    onnx.checker.check_model(exported)
    return exported


def largest_difference(model: keras.Model, content: bytes) -> float:
    """Return the largest difference between Keras and the file over all 16 steps.

    Every step is asked with both kinds of question: the next level, and the clean picture at once.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = []
    for step, (level, next_level) in enumerate(pairwise(core.linear_schedule().noise)):
        # Another batch size each time, since the batch axis must be free.
        n = 1 + step % 3
        image = core.gaussian_noise(n, model.input_shape[0][1:], seed=step)
        for then in (next_level, 0):
            question = [image, *(np.full((n, 1), a, np.float32) for a in (level, then))]
            if len(model.inputs) == 4:  # half of one class and half of another, or all of one
                shares = np.eye(11, dtype=np.float32)
                question.append(np.stack(n * [(shares[step % 11] + shares[step % 5]) / 2]))
            inputs = dict(zip((x.name for x in model.inputs), question, strict=True))
            (answer,) = session.run(["next_image"], inputs)
            differences.append(np.abs(answer - model.predict_on_batch(question)).max())
    return float(np.max(differences))


def _name_output(graph, name):
    """Name the one output; Keras calls it output_0, and onnx has no function that renames."""
    old = graph.output[0].name
    for node in graph.node:
        node.output[:] = [name if output == old else output for output in node.output]
    graph.output[0].name = name


def _name_batch_axis(graph):
    """Leave the batch axis free; onnx.tools.update_model_dims asks for every other size too."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def _halve_weights(graph):
    """Store large weights as float16, with a cast that the runtime carries out once, at loading.

    The converters to float16 that libraries offer change the arithmetic too.
    """
    for weight in graph.initializer:
        values, name = numpy_helper.to_array(weight), weight.name
        if values.dtype == np.float32 and values.size >= FEWEST_NUMBERS:
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
            cast = onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
            graph.node.insert(0, cast)


def record(model: keras.Model, jumps: keras.Model, folder: Path) -> np.ndarray:
    """Write the pictures of two runs, and then their captions; return cars of the first."""
    captions = {}

    def write(name, picture, caption):
        write_atomically(folder / name, png_bytes(picture))
        captions[name] = caption

    def draw(name, network, steps):
        schedule = core.linear_schedule(steps)
        states = core.predict_step(network, 24, schedule, seed=0)
        for step, (state, level) in enumerate(zip(states, schedule.noise, strict=True)):
            caption = f"Step {step} of {steps}: noise level {level:.2f}"
            write(f"{name}-{step:02d}.png", image_grid(state[:9]), caption)
        return states

    draw("jumps", jumps, 4)
    states = draw("draw", model, 16)
    cars = core.denormalize(states[-1])
    write_atomically(folder / "cars.png", png_bytes(np.concatenate(cars, axis=1)))
    clean = core.normalize(cars[0])
    noise = core.gaussian_noise(1, clean.shape, seed=0)[0]
    for number, level in enumerate(np.linspace(0, 1, 9, dtype=np.float32)):
        noisy = (1 - level) * clean + level * noise
        write(f"noise-{number:02d}.png", core.denormalize(noisy), f"Noise level {level:.2f}")

    write_atomically(folder / "captions.json", json.dumps(captions, indent=1).encode())
    return core.normalize(cars)


def record_skips(network: keras.Model, cars: np.ndarray, folder: Path) -> None:
    """Write the direction for half noisy cars, with skip connections switched off.

    skips.png has a row for each car: what the network sees, then its direction, halved, with both
    skips, without `skip_1`, without `skip_2` and without both. skips.json has the errors.
    """
    noise = core.gaussian_noise(1, cars.shape[1:], seed=1)
    noisy, truth = (cars + noise) / 2, cars - noise
    told = np.full((len(cars), 1), 0.5, np.float32)
    off = ((), ("skip_1",), ("skip_2",), ("skip_1", "skip_2"))
    answers = [without(network, skips).predict_on_batch([noisy, told]) for skips in off]
    errors = [np.abs(answer - truth).mean((1, 2, 3)).tolist() for answer in answers]
    rows = np.concatenate([noisy, *(answer / 2 for answer in answers)], axis=2)
    picture = core.denormalize(np.concatenate(rows))
    write_atomically(folder / "skips.png", png_bytes(picture))
    write_atomically(folder / "skips.json", json.dumps(np.transpose(errors).tolist()).encode())


class FromBelow(keras.layers.Layer):
    """Takes the place of a skip connection's sum, and passes on what comes from below alone."""

    def call(self, inputs):
        """Return the first input."""
        return inputs[0]


def without(network: keras.Model, skips: tuple[str, ...]) -> keras.Model:
    """Return the layers up to the direction, with these skip connections switched off."""
    whole = keras.Model(network.inputs[:2], network.get_layer("direction").output)
    return keras.models.clone_model(
        whole,
        clone_function=lambda layer: FromBelow() if layer.name in skips else layer,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
