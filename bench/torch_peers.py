"""The contestants on PyTorch; they need NumPy, PyTorch and diffusers, and no TensorFlow.

    python bench/torch_peers.py train twin '{"images": 1280}'
    python bench/torch_peers.py outputs IN.npz OUT.npz

"twin" is the project's network layer for layer, with its question, its loss and its average of the
weights. "diffusers" is the `UNet2DModel` of that library's example of unconditional training, made
so small that an image costs about as many operations as with us (an eighth of the widths and of the
groups, one residual block a level instead of two), with the example's noise, loss, optimizer,
clipping and average, but with our batches and ten times its rate, straight to zero;
"diffusers-default" is the example's own network and batch, and only its speed is of interest.
"twin-compiled" needs a C++ compiler; its helpers' memory is not in its peak, and PyTorch keeps what
it compiled for the next round.
The second command prints what the twin makes of given weights, for test_peers.py.
"""

import sys
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from process import Contestant, child_main, in_batches
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

STEPS = 16


class Norm(nn.Module):
    """RMSNormalization of Keras over the channels of `(n, channels, height, width)`.

    PyTorch's own normalizes the last axes alone.
    """

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        inverse = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
        return x * inverse * self.scale[:, None, None]


class Twin(nn.Module):
    """`make_model()` of diffusion_core in PyTorch; `layers` goes by the names of its layers."""

    def __init__(self, widths=(32, 64, 128)):
        super().__init__()
        self.widths = widths
        self.layers = nn.ModuleDict()
        self.layers["time_1"] = nn.Linear(1, 128)
        self.layers["time_2"] = nn.Linear(128, 128)
        self.layers["halve_image"] = nn.Conv2d(3, widths[0], 2, 2)
        for level, (width, deeper) in enumerate(pairwise(widths), start=1):
            self._add_block(f"down_{level}_1", width)
            self.layers[f"halve_{level}"] = nn.Conv2d(width, deeper, 2, 2)
            self.layers[f"double_{level}"] = nn.ConvTranspose2d(deeper, width, 2, 2)
            self._add_block(f"up_{level}_1", width)
        self._add_block("middle_1", widths[-1])
        self._add_block("middle_2", widths[-1])
        self.layers["last_norm"] = Norm(widths[0])
        self.layers["direction"] = nn.ConvTranspose2d(widths[0], 3, 2, 2)

    def _add_block(self, name, width):
        self.layers[f"{name}_norm_1"] = Norm(width)
        self.layers[f"{name}_conv_1"] = nn.Conv2d(width, width, 3, padding=1)
        self.layers[f"{name}_norm_2"] = Norm(width)
        self.layers[f"{name}_time_scale"] = nn.Linear(128, width)
        nn.init.ones_(self.layers[f"{name}_time_scale"].bias)
        self.layers[f"{name}_time_shift"] = nn.Linear(128, width)
        self.layers[f"{name}_conv_2"] = nn.Conv2d(width, width, 3, padding=1)

    def _block(self, name, x, time):
        layer = self.layers
        shortcut = x
        x = layer[f"{name}_conv_1"](functional.silu(layer[f"{name}_norm_1"](x)))
        scale = layer[f"{name}_time_scale"](time)[:, :, None, None]
        shift = layer[f"{name}_time_shift"](time)[:, :, None, None]
        x = functional.silu(layer[f"{name}_norm_2"](x) * scale + shift)
        return shortcut + layer[f"{name}_conv_2"](x)

    def forward(self, image, noise_level, next_noise_level):
        layer = self.layers
        time = functional.silu(layer["time_1"](noise_level))
        time = functional.silu(layer["time_2"](time))
        x = layer["halve_image"](image)
        skips = []
        for level in range(1, len(self.widths)):
            x = self._block(f"down_{level}_1", x, time)
            skips.append(x)
            x = layer[f"halve_{level}"](x)
        x = self._block("middle_2", self._block("middle_1", x, time), time)
        for level in range(len(self.widths) - 1, 0, -1):
            x = layer[f"double_{level}"](x) + skips.pop()
            x = self._block(f"up_{level}_1", x, time)
        direction = layer["direction"](functional.silu(layer["last_norm"](x)))
        return image + (noise_level - next_noise_level)[:, :, None, None] * direction

    def load_keras(self, weights):
        """Take the weights of a Keras model, by path such as "direction/kernel"."""
        with torch.no_grad():
            for path, value in weights.items():
                name, kind = path.split("/")
                layer = self.layers[name]
                # Keras' (height, width, from, to) is PyTorch's (to, from, height, width), and so
                # are the two orders of a transposed convolution, where both swap from and to.
                value = torch.from_numpy(value.T if value.ndim < 4 else value.transpose(3, 2, 0, 1))
                target = getattr(layer, {"kernel": "weight"}.get(kind, kind))
                if target.shape != value.shape:
                    raise ValueError(f"{path} is {value.shape}; expected {target.shape}.")
                target.copy_(value)


def flops(call) -> int:
    """Return the multiplications and additions of convolutions and matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def twin(*, memory_format=torch.contiguous_format, compiled=False, seed=0) -> Contestant:
    """Our network and our training step, the average of the weights included."""
    torch.manual_seed(seed)
    model = Twin().to(memory_format=memory_format)
    averages = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), 4e-3, eps=1e-7)
    step = torch.compile(model) if compiled else model
    taken = 0

    def train(images, share_used):
        nonlocal taken
        taken += 1
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - share_used)
        x0 = to_torch(flipped(images)).to(memory_format=memory_format)
        t = (STEPS * torch.randn(len(x0), 1).sigmoid()).round().clamp(max=STEPS - 1)
        level, next_level = 1 - t / STEPS, 1 - (t + 1) / STEPS
        noise = torch.randn_like(x0)
        x_t, x_next = (x0 + a[:, :, None, None] * (noise - x0) for a in (level, next_level))
        loss = functional.l1_loss(step(x_t, level, next_level), x_next)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, list(model.parameters()), 1 - (1 - 1 / taken) ** 10)
        loss.item()

    example = torch.zeros(1, 3, 32, 32), torch.ones(1, 1), torch.zeros(1, 1)
    counted = flops(lambda: model(*example)) // 2
    return Contestant(64, 32, parameters(model), counted, train, None)


def make_unet(width: int = 14, layers_per_block: int = 1, groups: int = 7) -> UNet2DModel:
    """Build the network of diffusers' example of unconditional training, for 32×32.

    There the width is 128 with two layers a block and 32 groups.
    """
    return UNet2DModel(
        sample_size=32,
        layers_per_block=layers_per_block,
        block_out_channels=tuple(width * factor for factor in (1, 1, 2, 2, 4, 4)),
        norm_num_groups=groups,
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    )


def diffusers(*, make=make_unet, batch=64, seed=0) -> Contestant:
    """`UNet2DModel` that learns the noise, as the example of diffusers trains it."""
    torch.manual_seed(seed)
    model = make()
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
        average.store(model.parameters())
        average.copy_to(model.parameters())
        pictures = draw_diffusers(model_call(model), noise)
        average.restore(model.parameters())
        return {"averaged": pictures}

    counted = flops(lambda: model(torch.zeros(1, 3, 32, 32), 0)) // 2
    return Contestant(batch, 32, parameters(model), counted, train, draw)


def model_call(model):
    return lambda x, timestep: model(x, timestep).sample


def draw_diffusers(network, noise):
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
            x = scheduler.step(network(x, timestep), timestep, x).prev_sample
        return x.permute(0, 2, 3, 1).numpy()

    return in_batches(draw, noise)


def draw_by_diffusers():
    network = model_call(make_unet())
    return lambda pictures: draw_diffusers(
        network, np.random.default_rng(0).standard_normal((pictures, 32, 32, 3), np.float32)
    )


def flipped(images):
    """Flip each image left to right or not."""
    flip = np.random.default_rng(int(torch.randint(2**31, ()))).random(len(images)) < 0.5
    return np.where(flip[:, None, None, None], images[:, :, ::-1], images)


def to_torch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def outputs(source: str, target: str) -> None:
    """Load Keras' weights into the twin, and save its output, its size and its operations."""
    arrays = dict(np.load(source))
    question = [torch.from_numpy(arrays.pop(name)) for name in ("image", "level", "next_level")]
    question[0] = question[0].permute(0, 3, 1, 2)
    model = Twin()
    model.load_keras(arrays)
    with torch.inference_mode():
        answer = model(*question)
    example = torch.zeros(1, 3, 32, 32), torch.ones(1, 1), torch.zeros(1, 1)
    np.savez(
        target,
        answer=answer.permute(0, 2, 3, 1).numpy(),
        parameters=parameters(model),
        forward=flops(lambda: model(*example)),
        forward_and_back=flops(lambda: model(*example).sum().backward()),
    )


TRAINERS = {
    "twin": twin,
    "twin-channels-last": partial(twin, memory_format=torch.channels_last),
    "twin-compiled": partial(twin, compiled=True),
    "diffusers": diffusers,
    "diffusers-default": partial(diffusers, make=partial(make_unet, 128, 2, 32), batch=16),
}
DRAWERS = {"diffusers": draw_by_diffusers}

if __name__ == "__main__":
    if sys.argv[1] == "outputs":
        outputs(*sys.argv[2:])
    else:
        child_main(TRAINERS, DRAWERS)
