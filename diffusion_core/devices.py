"""One network on several devices: each takes its share of the batch, all take the same step.

A step's gradient is the mean over its batch, so it is also the mean of the gradients of equal
shares. The devices average theirs, and every one of them makes the same change to its own copy of
the weights. All draws of a step depend on the seed and the step alone, so every process draws the
whole batch and takes its share: nothing but gradients has to travel.
"""

import zlib
from contextlib import contextmanager

import keras
import numpy as np

from diffusion_core.checks import check_whole
from diffusion_core.model import check_model


def spread(model: keras.Model, count: int | None = None) -> keras.Model:
    """Return the same network on several devices of this machine, for `train` and `train_one`.

    On TensorFlow the copies are kept by `tf.distribute.MirroredStrategy`, and the step is compiled
    without XLA, which cannot compile it there; on JAX by `keras.distribution.DataParallel`, over
    the devices of all machines once `keras.distribution.initialize` has connected them.

    Args:
        model: a network of `make_model`; it stays as it is.
        count: how many devices; all when None. These are GPUs where there are any, else CPUs.

    Returns:
        A copy with the same weights.

    Raises:
        TypeError: a model or count of another type.
        ValueError: a count that there is not, on several machines one that leaves some out, or
            a backend other than TensorFlow and JAX.
    """
    check_model(model)
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(
            f"the backend is {backend}, on which nothing can be spread; set KERAS_BACKEND to "
            "tensorflow or jax."
        )
    names = device_names()
    count = len(names) if count is None else check_whole("count", count)
    if count > len(names) or (_processes() > 1 and count < len(names)):
        raise ValueError(
            f"count is {count}, and the devices are {', '.join(names)}; expected a number up to "
            f"{len(names)}, and all of them on several machines."
        )
    if backend == "tensorflow":
        import tensorflow as tf

        placement = tf.distribute.MirroredStrategy([name.upper() for name in names[:count]])
    else:
        placement = keras.distribution.DataParallel(devices=names[:count])
    with placement.scope():
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    # Keras copies the precision of the layers alone; the model's own decides on loss scaling.
    copy.dtype_policy = model.dtype_policy
    copy.settings, copy.placement, copy.device_count = model.settings, placement, count
    return copy


def device_names(kind: str | None = None) -> list[str]:
    """Return the names of the devices of a kind, such as "gpu"; of the kind in use when None.

    The list is empty on PyTorch, of which Keras names none.
    """
    return [] if keras.backend.backend() == "torch" else keras.distribution.list_devices(kind)


@contextmanager
def home(model: keras.Model):
    """Make a `with` block in which new variables are placed where those of the model are."""
    placement = getattr(model, "placement", None)
    if placement is None:
        yield
    else:
        with placement.scope():
            yield


def is_spread(model: keras.Model) -> bool:
    """Return whether `spread` made this model."""
    return hasattr(model, "placement")


def check_shares(model: keras.Model, batch_size: int) -> None:
    """Raise `ValueError` unless the model's devices can share the batch out equally."""
    count = getattr(model, "device_count", 1)
    if batch_size % count:
        raise ValueError(
            f"batch_size is {batch_size}, and {count} devices share it; give a multiple of {count}."
        )


def smaller_batch(model: keras.Model, batch_size: int) -> int:
    """Return half the batch size or a little less, that the devices can share out; 0 for none."""
    count = getattr(model, "device_count", 1)
    return batch_size // 2 // count * count


def train_on_batch(model: keras.Model, question: list[np.ndarray], answer: np.ndarray) -> float:
    """Take one step as `model.train_on_batch` does, on all devices of the model.

    Args:
        model: compiled by `compile_model`.
        question, answer: the whole batch, as `draw_batch` returns it.

    Returns:
        The loss of the whole batch.
    """
    if not is_spread(model):
        return float(model.train_on_batch(question, answer))
    batch = (question, answer)
    if keras.backend.backend() == "jax":
        # Keras puts the shares of the processes together again, without moving them.
        batch = _share(batch, _processes(), _process())
        with home(model):
            return float(model.train_on_batch(*batch))

    # Keras' own train_on_batch would give the whole batch to every device.
    def of_replica(context):
        return _share(batch, context.num_replicas_in_sync, context.replica_id_in_sync_group)

    shares = model.placement.experimental_distribute_values_from_function(of_replica)
    model.make_train_function()
    model.reset_metrics()
    return float(model.train_function(iter([shares]))["loss"])


def is_first() -> bool:
    """Return whether this process is the one that writes files: the first, or the only one."""
    return _process() == 0


def check_same(name: str) -> None:
    """Wait for the other processes, and raise `ValueError` unless all came with the same name."""
    if _processes() == 1:
        return
    from jax.experimental import multihost_utils

    numbers = multihost_utils.process_allgather(np.uint32(zlib.crc32(name.encode())))
    if len(set(numbers.tolist())) > 1:
        raise ValueError(
            f"the processes found different states, this one {name}; all must see the same "
            "weights_dir: a folder that the machines share, or equal copies of it."
        )


@contextmanager
def explain_full_memory(advice: str):
    """Raise `MemoryError` with this advice in place of any backend's way to say so."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower().replace("_", "").replace(" ", "")
        if isinstance(error, MemoryError) or "resourceexhausted" in text or "outofmemory" in text:
            raise MemoryError(advice) from error
        raise


def _share(batch, shares, number):
    return keras.tree.map_structure(lambda part: np.array_split(part, shares)[number], batch)


def _processes():
    return _jax().process_count() if keras.backend.backend() == "jax" else 1


def _process():
    return _jax().process_index() if keras.backend.backend() == "jax" else 0


def _jax():
    import jax

    return jax
