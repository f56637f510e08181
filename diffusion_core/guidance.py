"""Chapter 8, guidance: go on in the direction in which a network differs from a weaker self."""

from collections.abc import Callable
from itertools import pairwise

import keras
from keras import ops

from diffusion_core.checks import LEARNER, NETWORK, checked, number
from diffusion_core.schedule import ARTICLE


def STRENGTH(name, value):
    """The kind of what guides so strongly: a number from 0 to 100, or a function of two levels."""
    return value if callable(value) else number(100)(name, value)


def _check_sizes(model, weak, **_):
    if model.input_shape[:3] != weak.input_shape:
        raise ValueError(
            f"weak draws pictures {weak.input_shape[0][1:]} and the model "
            f"{model.input_shape[0][1:]}; give a weak network for pictures of the same size."
        )


@checked(_check_sizes, model=LEARNER, weak=NETWORK, guidance=STRENGTH)
def guided(model: keras.Model, weak: keras.Model, guidance: float | Callable = 3.0) -> keras.Model:
    """Return a network that draws away from a weaker one: autoguidance.

    Both networks answer the same question, and what the better one knows more is taken `guidance`
    times (Karras et al. 2024, arXiv:2406.02507, equation 4). A step costs a call of each.

    Args:
        model: a network of `make_model`, `load_pretrained` or `of_class`; it stays as it is. One
            that wants to know the class makes a guided one that does.
        weak: the same one earlier in its training, or another for pictures of the same size; or,
            of a network that knows classes, the same one asked for any class (chapter 11).
        guidance: `w`, from 0 to 100. At 1 the weak network has no say, and `model` itself comes
            back; above 1 its mistakes are avoided. Or a function that returns `w` for a noise level
            and the next one, such as those of `classes`.

    Returns:
        A `keras.Model` of the same inputs and output as `model`, so that all that draws with a
        network draws with this one: `predict`, `predict_step`, `evaluate`.

    Raises:
        ValueError: the two draw pictures of different sizes.
    """
    if guidance == 1:
        return model
    strong_next, weak_next = model.output, weak(model.inputs[:3])
    w = known = guidance
    if callable(guidance):
        w = ops.reshape(guidance(*model.inputs[1:3]), (-1, 1, 1, 1))
        known = [float(guidance(*levels)) for levels in pairwise(ARTICLE.noise)]
    next_image = weak_next + w * (strong_next - weak_next)
    network = keras.Model(model.inputs, next_image, name="guided")
    network.configuration = getattr(model, "configuration", {})  # of its run, for `evaluate`
    network.guidance = known  # so that a run with this teacher is told from others
    return network
