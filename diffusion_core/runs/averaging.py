"""Chapter 5's average of the weights: training moves the weights, drawing uses their average."""

from contextlib import contextmanager

import keras
from keras import ops


class AveragingAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980) that also keeps a running average of the weights.

    After step `k` the average is `m * average + (1 - m) * weights` with `m = (1 - 1/k) ** 10`: it
    remembers about the last tenth of a run, however long that is (the power-function average of
    Karras et al. 2023, arXiv:2312.02696, with their exponent gamma at 9).
    """

    def build(self, variables):
        """Create the slots of Adam and one average for each variable."""
        if not self.built:
            super().build(variables)
            self.averages = self.add_optimizer_variables(variables, "average")

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable, then its average."""
        super().update_step(gradient, variable, learning_rate)
        average = self.averages[self._get_variable_index(variable)]
        k = ops.cast(self.iterations + 1, variable.dtype)
        m = (1 - 1 / k) ** 10
        self.assign_add(average, (1 - m) * (variable - average))


def optimizer(model: keras.Model) -> keras.optimizers.Optimizer | None:
    """Return the model's own optimizer: in float16 Keras wraps it in one that scales the loss."""
    outer = getattr(model, "optimizer", None)
    return getattr(outer, "inner_optimizer", outer)


def steps_done(model: keras.Model) -> int:
    """Return how many steps the optimizer of a model took."""
    # On several devices TensorFlow's count has no `int` of its own.
    return int(ops.convert_to_numpy(model.optimizer.iterations))


def averages(model: keras.Model) -> list[keras.Variable]:
    """Return the averaged weights of a training model, in the order of `trainable_variables`."""
    return optimizer(model).averages


def assign_averages(model: keras.Model) -> None:
    """Replace the weights of a training model by their averages."""
    for variable, average in zip(model.trainable_variables, averages(model), strict=True):
        # A copy, since JAX steps overwrite the memory of what they are given.
        variable.assign(ops.copy(average))


@contextmanager
def averaged_weights(model: keras.Model):
    """Put the averaged weights into a training model for the length of a `with` block."""
    plain = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    assign_averages(model)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, plain, strict=True):
            variable.assign(value)
