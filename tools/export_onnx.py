"""Export the shipped network for the browser, and check the file against Keras.

    python tools/export_onnx.py _build/html/live/model.onnx

The file takes `image` float32 (n, height, width, channels), `noise_level` and `next_noise_level`
float32 (n, 1), with any n, and gives `next_image`. Large weights are stored as float16, as they
are shipped, and cast to float32 when the file is loaded. Exits with 1 above the tolerance.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from diffusion_core import gaussian_noise, linear_schedule, load_pretrained
from diffusion_core.runs.files import write_atomically

TOLERANCE = 1e-4  # of pictures in [-1, 1]; a step of 1 in 255 is 8e-3
LARGEST_FILE = 6_000_000
# Below this many numbers a Cast costs more than it saves.
FEWEST_NUMBERS = 256


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
    levels = linear_schedule().noise.astype(np.float32)
    largest = 0.0
    for step in range(16):
        # Another batch size each time, since the batch axis must be free.
        n = 1 + step % 3
        image = gaussian_noise(n, model.input_shape[0][1:], seed=step)
        now = np.full((n, 1), levels[step], np.float32)
        for then in (np.full_like(now, levels[step + 1]), np.zeros_like(now)):
            inputs = {"image": image, "noise_level": now, "next_noise_level": then}
            (answer,) = session.run(["next_image"], inputs)
            expected = model.predict_on_batch([image, now, then])
            largest = max(largest, float(np.abs(answer - expected).max()))
    return largest


def _name_output(graph, name):
    old = graph.output[0].name
    for node in graph.node:
        node.output[:] = [name if output == old else output for output in node.output]
    graph.output[0].name = name


def _name_batch_axis(graph):
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def _halve_weights(graph):
    """Store large weights as float16, with a cast that the runtime carries out once, at loading."""
    # The converters to float16 that libraries offer change the arithmetic too.
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < FEWEST_NUMBERS:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        cast = onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
        casts.append(cast)
    for position, cast in enumerate(casts):
        graph.node.insert(position, cast)


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    model = load_pretrained("small")
    content = to_onnx(model).SerializeToString()
    difference = largest_difference(model, content)
    print(
        f"{path.name}: {len(content):,} bytes, largest difference to Keras {difference:.1e} "
        f"(allowed: {TOLERANCE:.0e})"
    )
    # Written this way round, so that a difference that is not a number fails too.
    if not difference <= TOLERANCE:
        sys.exit("The exported network does not answer like the network in Keras.")
    if len(content) > LARGEST_FILE:
        sys.exit(f"The exported network has more than {LARGEST_FILE:,} bytes.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


if __name__ == "__main__":
    main()
