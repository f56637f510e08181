"""Chapter 7's other measures of clouds of features, beside the Fréchet distance."""

import contextlib
import io

import numpy as np

from diffusion_core.checks import NUMBERS, SEED, check_size, checked, whole

NEIGHBOURS = 5  # as the authors of density and coverage advise


def ROWS(name, value):
    """The kind of clouds of features: finite floats `(n, d)`."""
    rows = NUMBERS(name, value).astype(np.float64)
    if rows.ndim != 2:
        raise ValueError(f"{name} has the shape {rows.shape}; expected rows (n, d).")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} hold NaN or infinite values; expected finite numbers.")
    return rows


def at_least(*least):
    """Make the check that two clouds have as many columns, and each at least so many rows."""

    def check(draws=0, seed=0, **clouds):
        one, other = clouds.values()
        if one.shape[1] != other.shape[1]:
            raise ValueError(
                f"the rows have the shapes {one.shape} and {other.shape}; expected as many columns."
            )
        if len(one) < least[0] or len(other) < least[1]:
            raise ValueError(
                f"there are {len(one)} and {len(other)} rows; expected at least "
                f"{least[0]} and {least[1]}."
            )
        check_size(f"draws is {draws}", draws * (len(one) + len(other)))

    return check


@checked(at_least(2, 2), features=ROWS, reference=ROWS, draws=whole(1, 100_000), seed=SEED)
def kernel_distance(
    features: np.ndarray, reference: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the kernel distance (KID) of two clouds and the ends of its 95% bootstrap interval.

    The squared maximum mean discrepancy with the kernel `(x · y / d + 1)³` (Bińkowski et al. 2018,
    arXiv:1801.01401, section 4), without bias: pairs of a row with itself are left out, in every
    bootstrap draw too. It may therefore fall below zero for equal clouds.

    The clouds are floats `(n, d)` and `(m, d)`, of at least two rows. Each of the `draws` of the
    bootstrap, at most 100,000, draws from both with replacement, and `seed` says which.
    """
    random, d = np.random.default_rng(seed), features.shape[1]
    # Row 0 counts every picture once; the others count how often a bootstrap draw took it.
    counts = [
        np.vstack([np.ones(n), random.multinomial(n, np.full(n, 1 / n), size=draws)])
        for n in (len(features), len(reference))
    ]

    def total(a, b, count, other):
        sums = np.zeros(1 + draws)
        for first in range(0, len(b), 256):  # since the kernel of all pairs would fill the memory
            columns = slice(first, first + 256)
            kernel = (a @ b[columns].T / d + 1) ** 3
            sums += (count @ kernel * other[:, columns]).sum(1)
        return sums

    def within(cloud, count):
        same = count**2 @ (np.square(cloud).sum(1) / d + 1) ** 3
        return (total(cloud, cloud, count, count) - same) / (len(cloud) ** 2 - (count**2).sum(1))

    across = total(features, reference, *counts) / (len(features) * len(reference))
    distances = within(features, counts[0]) + within(reference, counts[1]) - 2 * across
    low, high = np.percentile(distances[1:], [2.5, 97.5])
    return float(distances[0]), float(low), float(high)


def paired_difference(distance, one, other, reference, draws: int = 100, seed: int = 0):
    """Return `distance(one, reference) - distance(other, reference)`, and its 95% interval.

    The clouds are floats `(n, d)`, the reference `(m, d)`. Rows `i` of `one` and `other` come from
    the same noise. So each draw of the bootstrap
    takes the same rows of both, and what noise they happened to start from cancels out.
    """
    random = np.random.default_rng(seed)

    def difference(rows, real):
        return distance(one[rows], reference[real]) - distance(other[rows], reference[real])

    drawn = [
        difference(*(random.integers(n, size=n) for n in (len(one), len(reference))))
        for _ in range(draws)
    ]
    whole = slice(None)
    return difference(whole, whole), *np.percentile(drawn, [2.5, 97.5]).tolist()


@checked(at_least(NEIGHBOURS + 2, NEIGHBOURS + 2), features=ROWS, reference=ROWS)
def precision_recall(features: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return precision, recall, density and coverage of clouds `(n, d)`, `(m, d)`, 5 neighbours.

    Precision: the share of pictures that lie among the real ones; recall: the share of real ones
    that lie among the pictures (Kynkäänniemi et al. 2019, arXiv:1904.06991). Density and coverage:
    the same two thoughts, less shaken by outliers (Naeem et al. 2020, arXiv:2002.09797).
    """
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):  # prdc prints what it counts
        found = compute_prdc(reference, features, nearest_k=NEIGHBOURS)
    return {name: float(value) for name, value in found.items()}
