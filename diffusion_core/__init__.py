"""Simple Diffusion: a small diffusion model of CIFAR-10 cars, one module for each stage."""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_MODULES = {
    "data": "denormalize load_cars load_images normalize",
    "schedule": "Schedule cosine_schedule ddpm_schedule linear_schedule",
    "forward": "forward_noise gaussian_noise",
    "model": "load_pretrained make_model",
    "guidance": "guided",
    "training": "compile_model draw_batch train train_one",
    "sampling": "predict predict_step",
    "classes": "cfg_plus_plus load_classes of_class within",
    "jumps": "draw_jumps jumper train_jumps walk",
    "editing": "flow_edit inpainting invert redraw",
    "sources.folders": "load_folder",
    "sources.pretrained": "load_history",
    "runs.files": "default_weights_dir",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def _check_keras():
    """Raise `ImportError` for a Keras that is too old: where it came first, pip may not say so."""
    try:  # the one in memory is what runs, whatever was installed since
        found = getattr(sys.modules.get("keras"), "__version__", None) or version("keras")
    except PackageNotFoundError:  # or another package provides it
        return
    if tuple(map(int, found.split(".")[:2])) < (3, 13):
        raise ImportError(
            f"Keras {found} is installed; expected at least 3.13. Run `pip install -U keras`, and "
            "restart the kernel."
        )


_check_keras()


def __getattr__(name):
    """Import a public name when it is first asked for: TensorFlow takes seconds to load."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
