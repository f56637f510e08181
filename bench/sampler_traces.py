"""Write tests/reference/samplers.json: the rules of chapter 9 as `diffusers` walks them.

Run it where `torch` and `diffusers` are installed (they are not among this project's pins):

    python bench/sampler_traces.py

The tests read the file, so they need neither. The toy network is a formula that the test writes
down once more: it is bent enough that every rule takes another way. Schedulers that keep
signal² + noise² = 1, or divide by the signal, are scaled on the way in and out.
"""

import json
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)

TARGET = Path(__file__).parents[1] / "tests" / "reference" / "samplers.json"
STEPS, NUMBERS = 16, 6
LEVELS = np.linspace(1, 0, STEPS + 1)
BELOW_ONE = np.linspace(80 / 81, 0, STEPS + 1)  # EDM begins at sigma = 80
DRAW = np.random.default_rng(0)
START, *NOISES = torch.tensor(DRAW.standard_normal((STEPS + 1, 1, NUMBERS)).round(6))


def guess(x, a):
    """Return the clean guess of the toy network: each number leans on its neighbour."""
    return (1 - 0.3 * a) * torch.tanh((1.5 - a) * x + 0.5 * torch.roll(x, 1, -1) - 0.2)


def flow(x, a):
    """Return what `diffusers` calls the flow prediction: noise minus picture."""
    return (x - guess(x, a)) / a


def walk_heun():
    """Walk by Heun's rule: state, first try, state, first try, …, and the last step alone."""
    scheduler = FlowMatchHeunDiscreteScheduler(STEPS)
    scheduler.set_timesteps(STEPS)
    x, every = START, []
    for t in scheduler.timesteps:
        x = scheduler.step(flow(x, float(t) / STEPS), t, x).prev_sample
        every.append(x)
    return [START, *every[1:-1:2], every[-1]]


def walk_euler():
    scheduler = FlowMatchEulerDiscreteScheduler(STEPS)
    scheduler.set_timesteps(STEPS)
    states = [START]
    for t in scheduler.timesteps:
        x = states[-1]
        states.append(scheduler.step(flow(x, float(t) / STEPS), t, x).prev_sample)
    return states


def walk_solver(noises=None, **options):
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, **options
    )
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = torch.tensor(LEVELS, dtype=torch.float64)
    scheduler.set_begin_index(0)
    states = [START]
    for k, (t, a) in enumerate(zip(scheduler.timesteps, LEVELS[:-1], strict=True)):
        x, more = states[-1], {} if noises is None else {"variance_noise": noises[k]}
        states.append(scheduler.step(flow(x, a), t, x, **more).prev_sample)
    return states


def walk_edm():
    """Walk by EDM's Euler, in its own variables: x / (1 - a) and sigma = a / (1 - a)."""
    scheduler = EDMEulerScheduler()
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = torch.tensor(BELOW_ONE / (1 - BELOW_ONE))
    scheduler.set_begin_index(0)
    states = [START]
    for t, a, s in zip(scheduler.timesteps, BELOW_ONE, BELOW_ONE[1:], strict=False):
        y, clean = states[-1] / (1 - a), guess(states[-1], a)
        y = scheduler.step(y, t, y, pred_original_sample=clean).prev_sample
        states.append((1 - s) * y)
    return states


def variance_preserving(scheduler, **options):
    """Return a scheduler of `diffusers` that walks our levels, and their sizes there."""
    sizes = np.sqrt((1 - LEVELS) ** 2 + LEVELS**2)
    power = ((1 - LEVELS) / sizes)[::-1] ** 2
    betas = 1 - power[1:] / power[:-1]
    options |= {"prediction_type": "sample", "clip_sample": False}
    made = scheduler(STEPS, trained_betas=betas, timestep_spacing="trailing", **options)
    made.set_timesteps(STEPS)
    return made, sizes


def walk_ddim(eta):
    """Walk by DDIM; with eta = 1 it takes the root of -1e-17 at pure noise, and all becomes NaN."""
    scheduler, sizes = variance_preserving(DDIMScheduler)
    states = [START]
    for k, t in enumerate(scheduler.timesteps):
        x, about = states[-1], {"eta": eta, "variance_noise": NOISES[k] if eta else None}
        z = scheduler.step(guess(x, LEVELS[k]), int(t), x / sizes[k], **about).prev_sample
        states.append(z * sizes[k + 1])
    return states


def walk_ddpm():
    scheduler, sizes = variance_preserving(DDPMScheduler, variance_type="fixed_small")
    states = [START]
    for k, t in enumerate(scheduler.timesteps):
        x = states[-1]
        # It draws by itself, so its source of noise is replaced.
        drawn = mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor")
        with drawn as draw:
            draw.return_value = NOISES[k]
            z = scheduler.step(guess(x, LEVELS[k]), int(t), x / sizes[k]).prev_sample
        states.append(z * sizes[k + 1])
    return states


def main() -> None:
    stochastic = {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}
    walked = {
        "FlowMatchEulerDiscreteScheduler": ("euler", 0, LEVELS, walk_euler()),
        "DDIMScheduler": ("euler", 0, LEVELS, walk_ddim(0)),
        "EDMEulerScheduler": ("euler", 0, BELOW_ONE, walk_edm()),
        "FlowMatchHeunDiscreteScheduler": ("heun", 0, LEVELS, walk_heun()),
        "DPMSolverMultistepScheduler": (
            "dpm_solver",
            0,
            LEVELS,
            walk_solver(lower_order_final=False),
        ),
        "DDIMScheduler, eta 0.5": ("ddim", 0.5, LEVELS, walk_ddim(0.5)),
        "DDPMScheduler": ("ancestral", 1, LEVELS, walk_ddpm()),
        "DPMSolverMultistepScheduler, sde": (
            "ancestral",
            1,
            LEVELS,
            walk_solver(NOISES, **stochastic),
        ),
    }
    traces = {
        name: {
            "rule": rule,
            "eta": eta,
            "levels": levels.tolist(),
            "states": torch.cat(states).double().numpy().round(9).tolist(),
        }
        for name, (rule, eta, levels, states) in walked.items()
    }
    content = {
        "made_by": "bench/sampler_traces.py",
        "versions": {name: version(name) for name in ("diffusers", "torch", "numpy")},
        "noises": torch.cat(NOISES).tolist(),
        "traces": traces,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
