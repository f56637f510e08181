"""Simple Diffusion: a small diffusion model of CIFAR-10 cars, one module for each stage."""

from importlib import import_module

_HOMES = {
    "data": "denormalize load_cars load_images normalize",
    "schedule": "Schedule cosine_schedule ddpm_schedule linear_schedule",
    "forward": "forward_noise gaussian_noise",
    "model": "load_pretrained make_model",
    "guidance": "guided",
    "training": "compile_model draw_batch train train_one",
    "sampling": "predict predict_step",
    "sources.pretrained": "load_history",
    "runs.files": "default_weights_dir",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name):
    """Import a public name when it is first asked for: TensorFlow takes seconds to load."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
