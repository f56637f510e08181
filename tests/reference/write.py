"""Write tests/reference/diffusers.json: schedules and rules of `diffusers`.

Run it where `torch` and `diffusers` are installed (they are not among this project's pins):

    python tests/reference/write.py

The tests read the file, so they need neither. The toy network is a formula that the tests write
down once more: it is bent enough that every rule takes another way. Schedulers that keep
signal² + noise² = 1, or divide by the signal, are scaled on the way in and out.
"""

import json
import sys
from functools import partial
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

TARGET = Path(__file__).with_name("diffusers.json")
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


def walk(scheduler, answer, levels=LEVELS, sizes=None):
    """Return the states of a scheduler, which sees each divided by its size, and our noises."""
    sizes = np.ones(len(scheduler.timesteps) + 1) if sizes is None else sizes
    states, module = [START], sys.modules[type(scheduler).__module__]
    with mock.patch.object(module, "randn_tensor", side_effect=NOISES, create=True):
        for k, t in enumerate(scheduler.timesteps):
            x = states[-1]
            step = scheduler.step(answer(x, float(levels[k])), t, x / sizes[k])
            states.append(step.prev_sample * sizes[k + 1])
    return states


def made(scheduler, sigmas=None, **options):
    """Return a scheduler of `diffusers` with these steps, or with its own."""
    scheduler = scheduler(**options)
    scheduler.set_timesteps(STEPS)
    if sigmas is not None:
        scheduler.sigmas = torch.tensor(sigmas)
        scheduler.set_begin_index(0)
    return scheduler


def walk_heun():
    """Walk by Heun's rule: state, first try, state, first try, …, and the last step alone."""
    scheduler = made(FlowMatchHeunDiscreteScheduler, num_train_timesteps=STEPS)
    states = walk(scheduler, flow, scheduler.timesteps / STEPS)
    return [*states[:-1:2], states[-1]]


def walk_solver(**options):
    options |= {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    return walk(made(DPMSolverMultistepScheduler, LEVELS, **options), flow)


def walk_edm():
    """Walk by EDM's Euler, in its own variables: x / (1 - a) and sigma = a / (1 - a)."""
    scheduler = made(EDMEulerScheduler, BELOW_ONE / (1 - BELOW_ONE))
    scheduler.precondition_outputs = lambda sample, clean, sigma: clean
    return walk(scheduler, guess, BELOW_ONE, 1 - BELOW_ONE)


def walk_preserving(scheduler, eta=None, **options):
    """Walk by a scheduler that keeps signal² + noise² = 1, in its own variables."""
    sizes = np.sqrt((1 - LEVELS) ** 2 + LEVELS**2)
    power = ((1 - LEVELS) / sizes)[::-1] ** 2
    options |= {"prediction_type": "sample", "clip_sample": False}
    options |= {"timestep_spacing": "trailing", "trained_betas": 1 - power[1:] / power[:-1]}
    scheduler = made(scheduler, num_train_timesteps=STEPS, **options)
    if eta is not None:
        scheduler.step = partial(scheduler.step, eta=eta)
    return walk(scheduler, guess, sizes=sizes)


def signal_power(beta_schedule, indices):
    """Return `alphas_cumprod`, the share of signal power, after so many of 1,000 noising steps."""
    scheduler = DDPMScheduler(1000, beta_schedule=beta_schedule)
    return {str(i): scheduler.alphas_cumprod[i - 1].item() for i in indices}


def main() -> None:
    """Walk by every scheduler and write the states down, with the rule that each must equal."""
    # DDIM with eta = 1 takes the root of -1e-17 at pure noise, and all becomes NaN.
    euler = walk(made(FlowMatchEulerDiscreteScheduler, num_train_timesteps=STEPS), flow)
    ddpm = walk_preserving(DDPMScheduler, variance_type="fixed_small")
    sde = walk_solver(algorithm_type="sde-dpmsolver++", solver_order=1)
    walked = {
        "FlowMatchEulerDiscreteScheduler": ("euler", 0, euler),
        "DDIMScheduler": ("euler", 0, walk_preserving(DDIMScheduler, eta=0)),
        "EDMEulerScheduler": ("euler", 0, walk_edm()),
        "FlowMatchHeunDiscreteScheduler": ("heun", 0, walk_heun()),
        "DPMSolverMultistepScheduler": ("dpm_solver", 0, walk_solver(lower_order_final=False)),
        "DDIMScheduler, eta 0.5": ("ddim", 0.5, walk_preserving(DDIMScheduler, eta=0.5)),
        "DDPMScheduler": ("ancestral", 1, ddpm),
        "DPMSolverMultistepScheduler, sde": ("ancestral", 1, sde),
    }
    traces = {
        name: {
            "rule": rule,
            "eta": eta,
            "levels": (BELOW_ONE if name.startswith("EDM") else LEVELS).tolist(),
            "states": torch.cat(states).double().numpy().round(9).tolist(),
        }
        for name, (rule, eta, states) in walked.items()
    }
    content = {
        "made_by": "tests/reference/write.py",
        "versions": {name: version(name) for name in ("diffusers", "torch", "numpy")},
        "ddpm_signal_power": signal_power("linear", [1, 2, 10, 100, 250, 500, 750, 999, 1000]),
        # The library caps its last beta, so step 1000 is left out.
        "cosine_signal_power": signal_power("squaredcos_cap_v2", [1, 10, 250, 500, 750, 990]),
        "noises": torch.cat(NOISES).tolist(),
        "traces": traces,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
