"""Chapter 5's optimizer: Adam, Muon for the 3×3 kernels, and the average of the weights."""

from contextlib import contextmanager

import keras
from keras import ops


class AveragingMuon(keras.optimizers.Adam):
    """Muon for 3×3 kernels, Adam for all else, and a running average of the weights.

    Adam (Kingma and Ba 2014, arXiv:1412.6980) corrects every weight by itself. Muon (Jordan et al.
    2024, kellerjordan.github.io/posts/muon) takes a kernel as a matrix, `(9 * inputs, outputs)`,
    and makes its step orthogonal: no direction is left behind. The root mean square
    of that step is 0.2, so both share one learning rate (Liu et al. 2025, arXiv:2502.16982,
    section 2.2).

    After step `k` the average is `m * average + (1 - m) * weights` with `m = (1 - 1/k) ** 10`: two
    thirds of it (`1 - 0.9 ** 10`) come from the last tenth of a run, however long that is (the
    power-function average of Karras et al. 2023, arXiv:2312.02696, with their exponent gamma at 9).

    It is made as `keras.optimizers.Adam` is; all but `learning_rate` stays as Keras has it.
    """

    def build(self, variables):
        """Create the slots of Adam and one average for each variable."""
        if not self.built:
            super().build(variables)
            self.averages = self.add_optimizer_variables(variables, "average")

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable, then its average."""
        index, size = self._get_variable_index(variable), variable.shape
        if self.is_kernel(size):
            momentum = self._momentums[index]
            self.assign(momentum, 0.95 * momentum + gradient)
            matrix = ops.reshape(gradient + 0.95 * momentum, (-1, size[-1]))
            length = 0.2 * max(matrix.shape) ** 0.5
            step = ops.reshape(length * orthogonal(matrix), size)
            self.assign_sub(variable, ops.cast(learning_rate, step.dtype) * step)
        else:
            super().update_step(gradient, variable, learning_rate)
        average = self.averages[index]
        k = ops.cast(self.iterations + 1, variable.dtype)
        m = (1 - 1 / k) ** 10
        self.assign_add(average, (1 - m) * (variable - average))

    def is_kernel(self, size):
        """Return whether Muon moves a variable of this size: the kernel of a 3×3 convolution."""
        return len(size) == 4 and size[0] == 3


def orthogonal(matrix):
    """Return the nearest orthogonal matrix `(n, m)`, roughly: singular values from 0.6 to 1.2.

    Five steps of the Newton-Schulz iteration with the coefficients of Jordan et al. (2024); a
    zero matrix stays zero.
    """
    x = ops.transpose(matrix)  # the smaller side first makes the products small
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(5):
        square = x @ ops.transpose(x)
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return ops.transpose(x)


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
