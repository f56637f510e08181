"""Chapter 9, samplers: rules that turn the network's clean guess `D` into the next state.

All rules have one signature, `rule(guess, x, levels, fresh)`, and yield the state at each level
after the first. They see the network by its clean guess alone (chapter 6): `guess(x, a)` returns
`D`, like `x` float32 `(n, height, width, channels)`. The levels are Python's own floats and fall
from `a` to `s`, which stands for the next one. `fresh(t)` returns standard normal noise of the
shape of `x`, the same for the same `t`; the rules that add noise take it for state `t`.
"""

import math
from itertools import pairwise

import numpy as np

from diffusion_core.checks import one_of


def euler(guess, x, levels, fresh):
    """Euler's method, which is DDIM: Song et al. 2020, arXiv:2010.02502, equation 12, sigma = 0.

    Also Euler's method of EDM (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without lines 6
    to 8), since `x / (1 - a)` moves in the same way; and DPM-Solver++ of the first order.
    """
    for a, s in pairwise(levels):
        x = walk(x, guess(x, a), a, s)
        yield x


def heun(guess, x, levels, fresh):
    """Heun's rule, the mean of two directions: Karras et al. 2022, arXiv:2206.00364, algorithm 1.

    It asks twice a step, but once in the last, since nobody knows the direction at level 0.
    """
    for a, s in pairwise(levels):
        x = _heun_step(guess, x, a, s)
        yield x


def dpm_solver(guess, x, levels, fresh):
    """DPM-Solver++(2M), Euler with a guess ahead: Lu et al. 2022, arXiv:2211.01095, algorithm 2.

    The guess is carried on by half of what it changed since the last step, measured on the scale
    of `log((1 - a) / a)`. That scale is infinite at both ends, where the guess stays as it is.
    """
    D_last, h_last = 0.0, math.inf
    for a, s in pairwise(levels):
        D, h = guess(x, a), _log_ratio(s) - _log_ratio(a)
        ahead = D if math.isinf(h) else D + h / h_last / 2 * (D - D_last)
        x = walk(x, ahead, a, s)
        yield x
        D_last, h_last = D, h


def ddim(guess, x, levels, fresh, eta=0.0):
    """DDIM with fresh noise: Song et al. 2020, arXiv:2010.02502, equations 12 and 16.

    At `eta` = 0 it is Euler's method, at 1 DDPM. Written as a walk that goes too far, down to the
    level `low`, and fresh noise that brings it back to `s`.
    """
    for t, (a, s) in enumerate(pairwise(levels), start=1):
        kept = noise_to_signal(s) / noise_to_signal(a)
        low = noise_level(noise_to_signal(s) * math.sqrt(1 - eta**2 * (1 - kept**2)))
        x = renoise(walk(x, guess(x, a), a, low), low, s, fresh(t))
        yield x


def ancestral(guess, x, levels, fresh):
    """DDPM's sampler: Ho et al. 2020, arXiv:2006.11239, algorithm 2, with the smaller variance."""
    yield from ddim(guess, x, levels, fresh, eta=1.0)


def churn(guess, x, levels, fresh, amount=30.0):
    """EDM's sampler, noise before each step: Karras et al. 2022, arXiv:2206.00364, algorithm 2.

    `amount` is their `S_churn`, here as they chose it for CIFAR-10 (table 5); noise is added at
    every level and in full (`S_noise` = 1). Pure noise has no room for more and stays. The step is
    that of `heun`, their algorithm 1 on our levels.
    """
    gamma = min(amount / (len(levels) - 1), math.sqrt(2) - 1)
    for t, (a, s) in enumerate(pairwise(levels), start=1):
        high = noise_level((1 + gamma) * noise_to_signal(a))
        x = _heun_step(guess, renoise(x, a, high, fresh(t)), high, s)
        yield x


def walk(x, clean, a, s):
    """Return the state at level `s` on the straight way from `x`, at level `a`, to a clean guess.

    `a` is above 0, and `s` at most `a`.
    """
    return s / a * x + (1 - s / a) * clean


def renoise(x, a, b, noise):
    """Return `x`, a state at level `a`, at the higher level `b`, by fresh `noise` of its shape.

    The picture shrinks to the share `1 - b`, the old noise with it, and the new noise fills up: the
    step of the forward process (Ho et al. 2020, arXiv:2006.11239, equation 2) on these levels.
    """
    if a == b:  # pure noise too, of which no share is known
        return x
    share = (1 - b) / (1 - a)
    missing = max(0.0, b**2 - (share * a) ** 2)  # rounding may take it below
    return share * x + math.sqrt(missing) * noise


def noise_to_signal(a):
    """Return `a / (1 - a)`, which EDM calls sigma; infinite at pure noise."""
    return a / (1 - a) if a < 1 else math.inf


def noise_level(ratio):
    """Return the noise level with this `noise_to_signal`."""
    return ratio / (1 + ratio) if ratio < math.inf else 1.0


def _heun_step(guess, x, a, s):
    direction = (guess(x, a) - x) / a
    ahead = x + (a - s) * direction
    if s == 0:
        return ahead
    direction_ahead = (guess(ahead, s) - ahead) / s
    return x + (a - s) * (direction + direction_ahead) / 2


def _log_ratio(a):
    with np.errstate(divide="ignore"):
        return float(np.log(1 - a) - np.log(a))


SAMPLERS = {rule.__name__: rule for rule in (euler, heun, dpm_solver, ddim, ancestral, churn)}


def SAMPLER(name, value):
    """The kind of the rules: a name of `SAMPLERS`, or a function with their signature."""
    return value if callable(value) else SAMPLERS[one_of(*SAMPLERS)(name, value)]
