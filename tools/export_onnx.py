"""Export the shipped network for the browser, and check the file against Keras.

    python tools/export_onnx.py _build/html/live/model.onnx

The file takes `image` float32 (n, height, width, channels), `noise_level` and `next_noise_level`
float32 (n, 1), with any n, and gives `next_image`. Large weights are stored as float16, as they
are shipped, and cast to float32 when the file is loaded. Exits with 1 above the tolerance.
"""

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
    differences = []
    for step, (level, next_level) in enumerate(pairwise(linear_schedule().noise)):
        # Another batch size each time, since the batch axis must be free.
        n = 1 + step % 3
        image = gaussian_noise(n, model.input_shape[0][1:], seed=step)
        for then in (next_level, 0):
            levels = [np.full((n, 1), a, np.float32) for a in (level, then)]
            inputs = zip(
                ("image", "noise_level", "next_noise_level"), (image, *levels), strict=True
            )
            (answer,) = session.run(["next_image"], dict(inputs))
            differences.append(np.abs(answer - model.predict_on_batch([image, *levels])).max())
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


def main(path: Path) -> None:
    """Write the file, once it is found to be right."""
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
    write_atomically(path, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
