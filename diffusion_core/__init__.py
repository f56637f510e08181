"""Simple Diffusion: a small diffusion model of CIFAR-10 cars, one module for each stage."""

from diffusion_core.checkpoints import default_weights_dir, load_history, load_pretrained
from diffusion_core.data import denormalize, load_cars, load_images, normalize
from diffusion_core.forward import forward_noise, gaussian_noise
from diffusion_core.model import make_model
from diffusion_core.sampling import predict, predict_step
from diffusion_core.schedule import Schedule, cosine_schedule, ddpm_schedule, linear_schedule
from diffusion_core.training import compile_model, draw_batch, train, train_one

__all__ = [
    "Schedule",
    "compile_model",
    "cosine_schedule",
    "ddpm_schedule",
    "default_weights_dir",
    "denormalize",
    "draw_batch",
    "forward_noise",
    "gaussian_noise",
    "linear_schedule",
    "load_cars",
    "load_history",
    "load_images",
    "load_pretrained",
    "make_model",
    "normalize",
    "predict",
    "predict_step",
    "train",
    "train_one",
]
