"""One step of a network on whatever there is: XLA or not, one device or several, memory or none.

Several devices share a batch in equal parts, and the mean of the parts' gradients is that of the
batch. All draws depend on the seed and the step alone, so every process draws the whole batch and
takes its part: nothing but gradients has to travel.
"""

import ctypes
import os
import zlib
from contextlib import contextmanager, nullcontext

import keras
import numpy as np

from diffusion_core.checks import COUNT, NETWORK, checked
from diffusion_core.runs.optimizer import steps_done

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@checked(model=NETWORK, count=lambda name, value: None if value is None else COUNT(name, value))
def spread(model: keras.Model, count: int | None = None) -> keras.Model:
    """Return a copy of a network on several devices of this machine, for `train` and `train_one`.

    On TensorFlow `tf.distribute.MirroredStrategy` keeps the copies, and the step is compiled
    without XLA, which cannot compile it there. On JAX it is `keras.distribution.DataParallel`, over
    the devices of all machines once `keras.distribution.initialize` has connected them.

    Args:
        model: a network of `make_model`; it stays as it is.
        count: how many devices; all when None. These are GPUs where there are any, else CPUs.
    """
    backend, names = keras.backend.backend(), device_names()
    if not names:
        raise ValueError(
            f"the backend is {backend}, on which nothing can be spread; set KERAS_BACKEND to "
            "tensorflow or jax."
        )
    count = count or len(names)
    if count > len(names) or (_processes()[0] > 1 and count < len(names)):
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
    """Return the devices of a kind, such as "gpu", or of the kind in use; on PyTorch none."""
    return [] if keras.backend.backend() == "torch" else keras.distribution.list_devices(kind)


def placement_scope(model: keras.Model):
    """Make a `with` block in which new variables are placed where those of the model are."""
    return model.placement.scope() if hasattr(model, "placement") else nullcontext()


def compile_step(model: keras.Model, optimizer: keras.optimizers.Optimizer, loss) -> None:
    """Compile a training step, and make the optimizer's variables."""
    _keep_freed_memory()
    # Keras leaves XLA off on CPUs, where this network trains faster with it (bench/results).
    xla = keras.backend.backend() == "jax" or not hasattr(model, "placement")
    model.compile(optimizer=optimizer, loss=loss, jit_compile=xla)
    model.optimizer.build(model.trainable_variables)


def _keep_freed_memory():
    """Keep what a step frees for the next: glibc gives it back, and fetching it anew is slow."""
    if os.name == "posix" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, 2**30)
        library.mallopt(M_MMAP_MAX, 0)


def check_shares(model: keras.Model, batch_size: int) -> None:
    """Raise `ValueError` unless the model's devices can share the batch out equally."""
    count = getattr(model, "device_count", 1)
    if batch_size % count:
        raise ValueError(
            f"batch_size is {batch_size}, and {count} devices share it; give a multiple of {count}."
        )


def train_on_batch(
    model: keras.Model, question: list[np.ndarray], answer: np.ndarray, *weight: np.ndarray
) -> float:
    """Take one step as `model.train_on_batch` does, on all devices, and return the batch's loss.

    A `weight` for each image may follow, in a shape that multiplies the loss of each pixel. Raises
    `MemoryError` where it does not fit, and `ValueError` for a loss of NaN or infinity.
    """
    n, count, step = len(answer), getattr(model, "device_count", 1), steps_done(model)
    fewer = n // 2 // count * count
    advice = f"try batch_size={fewer}, with" if fewer else "make a network of smaller widths, for"
    rate = float(model.optimizer.learning_rate)
    with _explain_full_memory(
        f"the memory does not hold a training step of {n} images; {advice} another weights_dir."
    ):
        loss = _shared_step(model, (question, answer, *weight))
    if not np.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} at step {step}, where the learning rate was {rate:g}; train anew "
            "with a smaller one, into another weights_dir. States saved before are untouched."
        )
    return loss


def _shared_step(model, batch):
    def share(shares, number):
        return keras.tree.map_structure(lambda part: np.array_split(part, shares)[number], batch)

    if not hasattr(model, "placement"):
        return float(model.train_on_batch(*batch))
    if keras.backend.backend() == "jax":
        # Keras puts the shares of the processes together again, without moving them.
        with placement_scope(model):
            return float(model.train_on_batch(*share(*_processes())))
    # Keras' own train_on_batch would give the whole batch to every device.
    shares = model.placement.experimental_distribute_values_from_function(
        lambda replica: share(replica.num_replicas_in_sync, replica.replica_id_in_sync_group)
    )
    model.make_train_function()
    model.reset_metrics()
    return float(model.train_function(iter([shares]))["loss"])


def predict_on_batch(model: keras.Model, question: list[np.ndarray]) -> np.ndarray:
    """Return the network's answer; raises `MemoryError` where the batch does not fit."""
    n = len(question[0])
    with _explain_full_memory(
        f"the memory does not hold {n} pictures at once; draw fewer in one call, such as "
        f"n={max(1, n // 2)}."
    ):
        return np.asarray(model.predict_on_batch(question))


@contextmanager
def _explain_full_memory(advice):
    """Raise `MemoryError` with this advice in place of any backend's way to say so."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower().replace("_", "").replace(" ", "")
        if isinstance(error, MemoryError) or "resourceexhausted" in text or "outofmemory" in text:
            raise MemoryError(advice) from error
        raise


def is_first() -> bool:
    """Return whether this process is the one that writes files: the first, or the only one."""
    return _processes()[1] == 0


def check_same(name: str) -> None:
    """Wait for the other processes, and raise `ValueError` unless all came with the same name."""
    if _processes()[0] == 1:
        return
    from jax.experimental import multihost_utils

    numbers = multihost_utils.process_allgather(np.uint32(zlib.crc32(name.encode())))
    if len(set(numbers.tolist())) > 1:
        raise ValueError(
            f"the processes found different states, this one {name}; all must see the same "
            "weights_dir: a folder that the machines share, or equal copies of it."
        )


def _processes():
    """Return how many processes train together, and the number of this one."""
    if keras.backend.backend() != "jax":
        return 1, 0
    import jax

    return jax.process_count(), jax.process_index()
