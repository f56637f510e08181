"""The network in other formats: other runtimes give its answers, for any number of pictures."""

import keras
import numpy as np
import pytest

from diffusion_core import gaussian_noise


def in_keras(file, question):
    network = keras.saving.load_model(file)
    return network.predict_on_batch(list(question.values()))


def in_onnx(file, question):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(file).run(None, question)[0]


def in_tflite(file, question):
    import tensorflow as tf

    (answer,) = tf.lite.Interpreter(str(file)).get_signature_runner()(**question).values()
    return answer


@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.parametrize(
    ("ending", "answer"), [("keras", in_keras), ("onnx", in_onnx), ("tflite", in_tflite)]
)
def test_a_network_answers_alike_in_another_runtime(tiny, tmp_path, ending, answer):
    network, file = tiny(seed=3), tmp_path / f"cars.{ending}"
    network.predict_on_batch([np.zeros((1, *shape[1:]), "f4") for shape in network.input_shape])
    if ending == "keras":
        network.save(file)
    else:
        if ending == "onnx":
            pytest.importorskip("tf2onnx")
        form = {"onnx": "onnx", "tflite": "litert"}[ending]
        network.export(file, format=form, verbose=False)
    for n in (1, 3):
        levels = (np.full((n, 1), level, "f4") for level in (0.75, 0.25))
        names = ("image", "noise_level", "next_noise_level")
        question = dict(zip(names, (gaussian_noise(n, (8, 8, 3)), *levels), strict=True))
        ours = network.predict_on_batch(list(question.values()))
        np.testing.assert_allclose(answer(file, question), ours, atol=1e-5)
        assert np.abs(ours - question["image"]).max() > 1e-3, "the step does nothing"
