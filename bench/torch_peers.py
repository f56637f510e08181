"""The contestants on PyTorch; they need NumPy, PyTorch and diffusers, and no TensorFlow.

"twin" is the project's network layer for layer, with its question, its loss and its average of the
weights. "diffusers" is the `UNet2DModel` of that library's example of unconditional training, made
so small that an image costs about as many operations as with us (an eighth of the widths and of the
groups, one residual block a level instead of two), with the example's noise, loss, optimizer,
clipping and average, but with our batches and ten times its rate, straight to zero.
"twin-compiled" needs a C++ compiler; its helpers' memory is not in its peak, and PyTorch keeps what
it compiled for the next round.
"""

from itertools import pairwise

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from process import SEED, Contestant, in_batches
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

STEPS = 16
WIDTHS = (32, 64, 128)


class Norm(nn.Module):
    """Keras' RMSNormalization over the channels, here axis 1; PyTorch's own takes the last axes."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        inverse = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
        return x * inverse * self.scale[:, None, None]


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(width), Norm(width)
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.time_scale, self.time_shift = (nn.Linear(128, width) for _ in range(2))
        nn.init.ones_(self.time_scale.bias)

    def forward(self, x, time):
        layers = self.time_scale, self.time_shift
        scale, shift = (layer(time)[:, :, None, None] for layer in layers)
        hidden = self.norm_2(self.conv_1(functional.silu(self.norm_1(x))))
        return x + self.conv_2(functional.silu(hidden * scale + shift))


class Twin(nn.ModuleDict):
    """`make_model()` of diffusion_core in PyTorch, by the names of its layers."""

    def __init__(self):
        super().__init__()
        self["time_1"], self["time_2"] = nn.Linear(1, 128), nn.Linear(128, 128)
        self["halve_image"] = nn.Conv2d(3, WIDTHS[0], 2, 2)
        for level, (width, deeper) in enumerate(pairwise(WIDTHS), start=1):
            self[f"down_{level}_1"], self[f"up_{level}_1"] = Block(width), Block(width)
            self[f"halve_{level}"] = nn.Conv2d(width, deeper, 2, 2)
            self[f"double_{level}"] = nn.ConvTranspose2d(deeper, width, 2, 2)
        self["middle_1"], self["middle_2"] = Block(WIDTHS[-1]), Block(WIDTHS[-1])
        self["last_norm"] = Norm(WIDTHS[0])
        self["direction"] = nn.ConvTranspose2d(WIDTHS[0], 3, 2, 2)

    def forward(self, image, noise_level, next_noise_level):
        time = functional.silu(self["time_1"](noise_level))
        time = functional.silu(self["time_2"](time))
        x = self["halve_image"](image)
        skips = []
        for level in range(1, len(WIDTHS)):
            x = self[f"down_{level}_1"](x, time)
            skips.append(x)
            x = self[f"halve_{level}"](x)
        x = self["middle_2"](self["middle_1"](x, time), time)
        for level in range(len(WIDTHS) - 1, 0, -1):
            x = self[f"up_{level}_1"](self[f"double_{level}"](x) + skips.pop(), time)
        direction = self["direction"](functional.silu(self["last_norm"](x)))
        return image + (noise_level - next_noise_level)[:, :, None, None] * direction


def counts(model, *example) -> tuple[int, int]:
    """Return the trainable numbers, and the multiply-adds of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        model(*example)
    return sum(value.numel() for value in model.parameters()), counter.get_total_flops() // 2


def move_average(averages, weights, taken):
    torch._foreach_lerp_(averages, weights, 1 - (1 - 1 / (int(taken) + 1)) ** 10)


def twin(*, compiled=False) -> Contestant:
    """Our network and our training step, the average of the weights included."""
    torch.manual_seed(SEED)
    model = Twin()
    average = AveragedModel(model, multi_avg_fn=move_average)
    optimizer = torch.optim.Adam(model.parameters(), 4e-3, eps=1e-7)
    step = torch.compile(model) if compiled else model

    def train(images, share_used):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - share_used)
        x0 = to_torch(flipped(images))
        t = (STEPS * torch.randn(len(x0), 1).sigmoid()).round().clamp(max=STEPS - 1)
        level, next_level = 1 - t / STEPS, 1 - (t + 1) / STEPS
        noise = torch.randn_like(x0)
        x_t, x_next = (x0 + a[:, :, None, None] * (noise - x0) for a in (level, next_level))
        loss = functional.l1_loss(step(x_t, level, next_level), x_next)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        loss.item()

    example = torch.zeros(1, 3, 32, 32), torch.ones(1, 1), torch.zeros(1, 1)
    return Contestant(64, 32, *counts(model, *example), train, None)


def make_unet() -> UNet2DModel:
    """Build the network of diffusers' example, which has widths from 128 on and 32 groups."""
    return UNet2DModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(14, 14, 28, 28, 56, 56),
        norm_num_groups=7,
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    )


def diffusers() -> Contestant:
    """`UNet2DModel` that learns the noise, as the example of diffusers trains it."""
    torch.manual_seed(SEED)
    model = make_unet()
    noising = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.95, 0.999), weight_decay=1e-6)
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, power=3 / 4)

    def train(images, share_used):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - share_used)
        x0 = to_torch(flipped(images))
        noise = torch.randn_like(x0)
        timesteps = torch.randint(1000, (len(x0),))
        guess = model(noising.add_noise(x0, noise, timesteps), timesteps).sample
        loss = functional.mse_loss(guess, noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())
        loss.item()

    def draw(noise):
        average.copy_to(model.parameters())
        return {"averaged": draw_diffusers(model, noise)}

    return Contestant(64, 32, *counts(model, torch.zeros(1, 3, 32, 32), 0), train, draw)


def draw_diffusers(model, noise):
    """Draw by DDIM in 16 of the 1,000 steps, from the noisiest one on; numpy in and out.

    "trailing" is the spacing that starts at the noisiest step (Lin et al. 2023, arXiv:2305.08891);
    the library's default leaves out the noisiest steps.
    """
    scheduler = DDIMScheduler.from_config(DDPMScheduler().config, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)

    @torch.inference_mode()
    def draw(part):
        x = to_torch(part)
        for timestep in scheduler.timesteps:
            x = scheduler.step(model(x, timestep).sample, timestep, x).prev_sample
        return x.permute(0, 2, 3, 1).numpy()

    return in_batches(draw, noise)


def draw_by_diffusers():
    model, random = make_unet(), np.random.default_rng(SEED)
    return lambda n: draw_diffusers(model, random.standard_normal((n, 32, 32, 3), np.float32))


def flipped(images):
    """Flip each image left to right or not."""
    flip = np.random.default_rng(int(torch.randint(2**31, ()))).random(len(images)) < 0.5
    return np.where(flip[:, None, None, None], images[:, :, ::-1], images)


def to_torch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
