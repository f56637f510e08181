"""Write tests/reference/diffusers.json: schedules and trajectories of an independent library.

Run it where `torch` and `diffusers` are installed (they are not among this project's pins):

    python tests/reference/schedules.py

The tests read the file, so they need neither. "Toy" is a network that anybody can write down:
its direction is -0.5 * x + 0.1.
"""

import json
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

TARGET = Path(__file__).with_name("diffusers.json")
STEPS = 16
START = torch.tensor([-2.5, -1.0, -0.3, 0.0, 0.2, 0.7, 1.4, 3.0], dtype=torch.float64)
LEVELS = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)


def toy_direction(x):
    return -0.5 * x + 0.1


def schedule_values(beta_schedule, indices):
    """Return `alphas_cumprod`, the share of signal power, after so many of 1,000 noising steps."""
    scheduler = DDPMScheduler(1000, beta_schedule=beta_schedule)
    return {str(i): scheduler.alphas_cumprod[i - 1].item() for i in indices}


def ddim_trajectory():
    """Walk our levels by DDIM, which keeps signal² + noise² = 1: rescale on the way in and out."""
    scheduler = DDIMScheduler(
        STEPS, prediction_type="sample", clip_sample=False, set_alpha_to_one=True
    )
    size = torch.sqrt((1 - LEVELS) ** 2 + LEVELS**2)
    # Index 0 of diffusers is its cleanest noisy step, and our last but one.
    scheduler.alphas_cumprod = (((1 - LEVELS) / size) ** 2).flip(0)[1:]
    scheduler.set_timesteps(STEPS)
    states = [START]
    for step, timestep in enumerate(scheduler.timesteps):
        x = states[-1]
        clean = x + LEVELS[step] * toy_direction(x)
        following = scheduler.step(clean, timestep, x / size[step], eta=0.0).prev_sample
        states.append(following * size[step + 1])
    return torch.stack(states).tolist()


def flow_match_trajectory():
    """Walk our levels by flow matching's Euler step; its velocity points towards the noise."""
    scheduler = FlowMatchEulerDiscreteScheduler(1000)
    scheduler.set_timesteps(sigmas=LEVELS[:-1].tolist())
    states = [START.float()]
    for timestep in scheduler.timesteps:
        x = states[-1]
        states.append(scheduler.step(-toy_direction(x), timestep, x).prev_sample)
    return torch.stack(states).tolist()


def main():
    values = {
        "made_by": "tests/reference/schedules.py",
        "versions": {name: version(name) for name in ("diffusers", "torch")},
        "ddpm_signal_power": schedule_values("linear", [1, 2, 10, 100, 250, 500, 750, 999, 1000]),
        # The library caps its last beta, so step 1000 is left out.
        "cosine_signal_power": schedule_values("squaredcos_cap_v2", [1, 10, 250, 500, 750, 990]),
        "ddim_trajectory": ddim_trajectory(),
        "flow_match_trajectory": flow_match_trajectory(),
    }
    TARGET.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
