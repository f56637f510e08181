"""Chapter 2, schedule: how much signal and how much noise a picture holds at every step.

Time runs towards the clean picture: step 0 is pure noise, step `timesteps` is clean. Most papers
count the other way.
"""

from dataclasses import dataclass

import numpy as np

from diffusion_core.checks import NUMBERS, checked, short_repr, whole

TIMESTEPS = whole(1, 10_000)


@dataclass(frozen=True, eq=False)  # by identity, since two arrays have no single truth value
class Schedule:
    """The shares of signal and of noise at each step: `x_t = signal[t] * x0 + noise[t] * epsilon`.

    Attributes:
        signal: float64 `(timesteps + 1,)` in [0, 1], never falling.
        noise: float64 `(timesteps + 1,)` in [0, 1], strictly falling: the noise levels.
    """

    signal: np.ndarray
    noise: np.ndarray

    def __post_init__(self):  # noqa: D105
        for name in ("signal", "noise"):
            levels = np.array(NUMBERS(name, getattr(self, name)), dtype=np.float64)
            levels.flags.writeable = False
            object.__setattr__(self, name, levels)
        signal, noise = self.signal, self.noise
        if signal.shape != noise.shape or signal.ndim != 1 or len(noise) < 2:
            raise ValueError(
                f"signal has the shape {signal.shape} and noise {noise.shape}; expected two "
                "arrays of the same length, timesteps + 1, of at least 2."
            )
        both = np.stack([signal, noise])
        if not ((both >= 0) & (both <= 1)).all():
            raise ValueError(
                f"the levels reach from {both.min():g} to {both.max():g}; expected signal and "
                "noise that lie in [0, 1]."
            )
        if not ((np.diff(noise) < 0).all() and (np.diff(signal) >= 0).all()):
            raise ValueError(
                f"noise goes from {noise[0]:g} to {noise[-1]:g} and signal from {signal[0]:g} to "
                f"{signal[-1]:g}; expected a way from noise to clean: noise must fall at every "
                "step and signal must not. To use a paper's order, reverse the arrays."
            )

    @property
    def timesteps(self) -> int:
        """The number of steps from pure noise to the clean picture."""
        return len(self.noise) - 1

    def at(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return signal and noise at any steps `t`, float32 of the same shape.

        Between two steps they lie on the straight line; after the last one they stay as they are.
        """
        steps = np.arange(self.timesteps + 1)
        levels = (np.interp(t, steps, shares) for shares in (self.signal, self.noise))
        return tuple(np.asarray(level, np.float32) for level in levels)

    @property
    def signal_to_noise(self) -> np.ndarray:
        """`(signal / noise)²` at each step, float64; infinite where clean, NaN where both are 0."""
        with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
            return (self.signal / self.noise) ** 2


@checked(timesteps=TIMESTEPS)
def linear_schedule(timesteps: int = 16) -> Schedule:
    """Return the article's schedule: noise level `a_t = 1 - t / timesteps`, signal `1 - a_t`.

    The same path as rectified flow (Liu et al. 2022, arXiv:2209.03003, equation 1); `timesteps`
    from 1 to 10,000.
    """
    t = np.arange(timesteps + 1)
    return Schedule(signal=t / timesteps, noise=1 - t / timesteps)


ARTICLE = linear_schedule()  # the article's 16 steps, wherever no other schedule is given


@checked(timesteps=TIMESTEPS)
def cosine_schedule(timesteps: int = 16) -> Schedule:
    """Return the cosine schedule of Nichol and Dhariwal (2021, arXiv:2102.09672, equation 17).

    It keeps `signal² + noise² = 1`, so it is here to be compared, not to be trained on. The
    paper's cap on the last beta is left out: it only guards the noisiest step of DDPM's sampler.
    `timesteps` from 1 to 10,000.
    """
    papers_time, offset = 1 - np.arange(timesteps + 1) / timesteps, 0.008
    angle = (papers_time + offset) / (1 + offset) * np.pi / 2
    power = np.cos(angle) ** 2 / np.cos(offset / (1 + offset) * np.pi / 2) ** 2
    power[0], power[-1] = 0, 1  # cos(π/2) is 6e-17 in floating point: pure noise should be pure
    return Schedule(signal=np.sqrt(power), noise=np.sqrt(1 - power))


@checked(timesteps=whole(1, 1000))
def ddpm_schedule(timesteps: int = 16) -> Schedule:
    """Return the schedule of DDPM (Ho et al. 2020, arXiv:2006.11239, section 4).

    Its 1,000 betas rise linearly from 1e-4 to 0.02; fewer `timesteps` (1 to 1,000) read it at
    evenly spaced points. It keeps `signal² + noise² = 1`, and its noisiest step still holds a
    little signal (0.6%), so it is here to be compared, not to be trained on.
    """
    power = np.concatenate([[1.0], np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))])
    steps = np.rint(np.linspace(1000, 0, timesteps + 1)).astype(int)
    return Schedule(signal=np.sqrt(power[steps]), noise=np.sqrt(1 - power[steps]))


def SCHEDULE(name, value):
    """The kind of any `Schedule`; None stands for the article's."""
    if value is not None and not isinstance(value, Schedule):
        raise TypeError(
            f"{name} is {short_repr(value)}; expected a Schedule: try linear_schedule()."
        )
    return ARTICLE if value is None else value


def LINEAR(name, value):
    """The kind of the schedules with `signal + noise = 1` at every step.

    The step `x_{t+1} = x_t + (a_t - a_{t+1}) (x0 - epsilon)` holds for these alone.
    """
    schedule = SCHEDULE(name, value)
    if not np.allclose(schedule.signal + schedule.noise, 1):
        raise ValueError(
            "this schedule does not keep signal + noise = 1, and the step that the network learns "
            "needs that; use linear_schedule, or a Schedule with signal = 1 - noise."
        )
    return schedule
