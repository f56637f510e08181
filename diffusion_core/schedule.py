"""Stage 2, schedule: how much signal and how much noise a picture holds at every step.

Time runs towards the clean picture: step 0 is pure noise, step `timesteps` is clean. Most papers
count the other way.
"""

from dataclasses import dataclass

import numpy as np

from diffusion_core.checks import brief, check_numbers, check_whole

MOST_TIMESTEPS = 10_000


# Compared by identity: two arrays have no single truth value.
@dataclass(frozen=True, eq=False)
class Schedule:
    """The shares of signal and of noise at each step: `x_t = signal[t] * x0 + noise[t] * epsilon`.

    Attributes:
        signal: float64 `(timesteps + 1,)` in [0, 1], never falling.
        noise: float64 `(timesteps + 1,)` in [0, 1], strictly falling: the noise levels.

    Raises:
        TypeError: something else than arrays of numbers.
        ValueError: arrays that differ in shape, hold fewer than two steps, leave [0, 1], or run
            the wrong way.
    """

    signal: np.ndarray
    noise: np.ndarray

    def __post_init__(self):  # noqa: D105
        for name in ("signal", "noise"):
            levels = check_numbers(name, getattr(self, name))
            object.__setattr__(self, name, np.array(levels, dtype=np.float64))
            getattr(self, name).flags.writeable = False
        if self.signal.shape != self.noise.shape or self.signal.ndim != 1 or len(self.noise) < 2:
            raise ValueError(
                f"signal has the shape {self.signal.shape} and noise {self.noise.shape}; expected "
                "two arrays of the same length, timesteps + 1, of at least 2."
            )
        both = np.stack([self.signal, self.noise])
        if not ((both >= 0) & (both <= 1)).all():
            raise ValueError(
                f"the levels reach from {both.min():g} to {both.max():g}; expected signal and "
                "noise that lie in [0, 1]."
            )
        if not ((np.diff(self.noise) < 0).all() and (np.diff(self.signal) >= 0).all()):
            raise ValueError(
                f"noise goes from {self.noise[0]:g} to {self.noise[-1]:g} and signal from "
                f"{self.signal[0]:g} to {self.signal[-1]:g}; expected a way from noise to clean: "
                "noise must fall at every step and signal must not. To use a paper's order, "
                "reverse the arrays."
            )

    @property
    def timesteps(self) -> int:
        """The number of steps from pure noise to the clean picture."""
        return len(self.noise) - 1

    @property
    def signal_to_noise(self) -> np.ndarray:
        """`(signal / noise)²` at each step, float64 `(timesteps + 1,)`; infinite where clean.

        Not a number where a step has neither signal nor noise.
        """
        with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
            return (self.signal / self.noise) ** 2


def check_schedule(schedule: Schedule | None) -> Schedule:
    """Return `schedule`, or the 16 linear steps when None; raise `TypeError` if it is neither."""
    if schedule is None:
        return linear_schedule()
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule is {brief(schedule)}; expected a Schedule: try linear_schedule()."
        )
    return schedule


def check_linear(schedule: Schedule | None) -> Schedule:
    """Return `schedule` if `signal + noise = 1` at every step; raise `ValueError` if not.

    The 16 linear steps when None.

    The residual step `x_{t+1} = x_t + (a_t - a_{t+1}) (x0 - epsilon)` holds only then.
    """
    schedule = check_schedule(schedule)
    if not np.allclose(schedule.signal + schedule.noise, 1):
        raise ValueError(
            "this schedule does not keep signal + noise = 1, and the step that the network learns "
            "needs that; use linear_schedule, or a Schedule with signal = 1 - noise."
        )
    return schedule


def linear_schedule(timesteps: int = 16) -> Schedule:
    """Return the article's schedule: noise level `a_t = 1 - t / timesteps`, signal `1 - a_t`.

    The same path as rectified flow (Liu et al. 2022, arXiv:2209.03003, equation 1).

    Raises `TypeError` or `ValueError` unless `timesteps` is a whole number from 1 to 10,000.
    """
    timesteps = check_whole("timesteps", timesteps, most=MOST_TIMESTEPS)
    fraction = np.arange(timesteps + 1) / timesteps
    return Schedule(signal=fraction, noise=1 - fraction)


def cosine_schedule(timesteps: int = 16) -> Schedule:
    """Return the cosine schedule of Nichol and Dhariwal (2021, arXiv:2102.09672, equation 17).

    It keeps `signal² + noise² = 1`, so it is here to be compared, not to be trained on. The
    paper's cap on the last beta is left out: it only guards the noisiest step of DDPM's sampler.

    Raises `TypeError` or `ValueError` unless `timesteps` is a whole number from 1 to 10,000.
    """
    timesteps = check_whole("timesteps", timesteps, most=MOST_TIMESTEPS)
    papers_time = 1 - np.arange(timesteps + 1) / timesteps
    offset = 0.008
    angle = (papers_time + offset) / (1 + offset) * np.pi / 2
    power = np.cos(angle) ** 2 / np.cos(offset / (1 + offset) * np.pi / 2) ** 2
    # cos(π/2) is 6e-17 in floating point, not 0: pure noise should be exactly pure.
    power[0], power[-1] = 0, 1
    return Schedule(signal=np.sqrt(power), noise=np.sqrt(1 - power))


def ddpm_schedule(timesteps: int = 16) -> Schedule:
    """Return the schedule of DDPM (Ho et al. 2020, arXiv:2006.11239, section 4).

    Its 1,000 betas rise linearly from 1e-4 to 0.02; fewer `timesteps` (1 to 1,000) read it at
    evenly spaced points. It keeps `signal² + noise² = 1`, and its noisiest step still holds a
    little signal (0.6%), so it is here to be compared, not to be trained on.

    Raises `TypeError` or `ValueError` unless `timesteps` is a whole number from 1 to 1,000.
    """
    timesteps = check_whole("timesteps", timesteps, most=1000)
    power = np.concatenate([[1.0], np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))])
    steps = np.rint(np.linspace(1000, 0, timesteps + 1)).astype(int)
    return Schedule(signal=np.sqrt(power[steps]), noise=np.sqrt(1 - power[steps]))
