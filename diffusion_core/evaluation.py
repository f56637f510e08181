"""Chapter 7, evaluation: are the drawn cars good, and are they new?

Pictures are compared as clouds of features. The features come from the book's own classifier, so
the distances here are *not* the FID of papers, which is defined on those of one Inception network.
"""

import keras
import numpy as np

from diffusion_core import checks
from diffusion_core.checks import IMAGES, NETWORK, SEED, checked, one_of, outside, whole
from diffusion_core.data import denormalize, load_cars, load_images, normalize
from diffusion_core.forward import forward_noise, gaussian_noise
from diffusion_core.runs.guards import warn_of_other_pictures
from diffusion_core.sampling import predict
from diffusion_core.schedule import linear_schedule
from diffusion_core.sources.copies import closest, copying
from diffusion_core.sources.features import (
    AGAINST,
    COMPARED,
    FEATURES,
    check_judged,
    classifier_features,
    controls,
)
from diffusion_core.sources.measures import ROWS, at_least, kernel_distance, precision_recall


@checked(at_least(2, 2), features=ROWS, reference=ROWS)
def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the Fréchet distance of two clouds, each taken for a normal distribution.

    `|m1 - m2|² + trace(C1 + C2 - 2 (C1 C2)^½)` with means `m` and covariances `C` (Dowson and
    Landau 1982; used for pictures by Heusel et al. 2017, arXiv:1706.08500, equation 6). It is
    biased: fewer rows make it larger.

    Args:
        features: numbers `(n, d)`, a row for each picture, two rows at least.
        reference: numbers `(m, d)`, likewise, such as those of real pictures.
    """
    m1, m2 = features.mean(0), reference.mean(0)
    # Of a single feature, cov returns a bare number.
    C1, C2 = (np.atleast_2d(np.cov(cloud, rowvar=False)) for cloud in (features, reference))
    # (C1 C2) and C1^½ C2 C1^½ have the same eigenvalues, and the second is symmetric.
    values, vectors = np.linalg.eigh(C1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ C2 @ root).clip(0)).sum()
    return float(np.square(m1 - m2).sum() + np.trace(C1 + C2) - 2 * trace_of_root)


@checked(lambda model, images: checks.check_images_of(model, images), model=NETWORK, images=IMAGES)
def loss_by_noise_level(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the mean absolute error of each of the 16 steps, over the size of a step: `(16,)`.

    Image `i`, of float32 `(n, height, width, channels)`, gets the noise of `(0, i)` at every step.
    """
    schedule, losses = linear_schedule(), []
    noise = gaussian_noise(len(images), images.shape[1:])
    for t in range(schedule.timesteps):
        question, answer = forward_noise(images, t, schedule, noise=noise)
        a, a_next = (np.full((len(images), 1), schedule.noise[at], "f4") for at in (t, t + 1))
        guess = model.predict([question, a, a_next], batch_size=250, verbose=0)
        losses.append(float(np.abs(guess - answer).mean() / (a - a_next)[0, 0]))
    return np.array(losses)


def compare(
    images: np.ndarray, held_out: np.ndarray, extract=classifier_features
) -> dict[str, float | int | list[float]]:
    """Return one row of the quality table: uint8 pictures against uint8 held-out cars."""
    return _row(extract(images), extract(held_out))


def _row(features, reference):
    distance, low, high = kernel_distance(features, reference)
    return {
        "pictures": len(features),
        "frechet distance": frechet_distance(features, reference),
        "kernel distance": distance,
        "interval": [low, high],
        # Of the first 1,000, since recall and coverage grow with the number of pictures.
        **precision_recall(features[:COMPARED], reference),
    }


@checked(
    check_judged,
    model=NETWORK,
    n=whole(COMPARED, 20_000),
    seed=SEED,
    features=one_of(*FEATURES),
    against=AGAINST,
)
@outside()  # every measure opens its own door, where its rows become float64
def evaluate(
    model: keras.Model,
    n: int = 5000,
    seed: int = 0,
    features: str = "classifier",
    against: str | np.ndarray = "held-out",
) -> dict[str, object]:
    """Draw `n` pictures and measure them against real cars, or against pictures of one's own.

    Args:
        model: a network for pictures of 32×32.
        n, seed: how many pictures, from 1,000 to 20,000 (the book's tables use 5,000), and which.
        features: "classifier", or "inception" (needs internet once).
        against: "train", to choose between networks and settings: the training cars from the
            1,001st on; or "held-out", to judge what was chosen, once: the 1,000 held-out cars; or
            what a network of one's own was trained on, at least 200 pictures, as against "train".

    Returns:
        `quality`, a dict of rows of `compare` by name, "generated" and its first 1,000 first (of
        fewer than 2,000 pictures of one's own: as many as half of them);
        `copying`, for the held-out cars, the generated ones and planted copies, the share that
        counts as copied; `closest`, the ten generated pictures that resemble a training car most;
        `loss`, the loss by noise level on 1,000 training and on the held-out cars; and the
        arguments. Against "train", what would need held-out cars is left out.
    """
    own = not isinstance(against, str)
    training, trucks = (against, None) if own else (load_cars(), load_images("truck", "test"))
    warn_of_other_pictures(model, normalize(training), own)
    # Whoever chooses does not even load the cars that judge.
    unseen = {"held-out cars": load_cars("test")} if not own and against == "held-out" else {}
    few = min(COMPARED, len(training) // 2)  # the others are compared with
    reference = FEATURES[features](unseen.get("held-out cars", training[few:]))
    references, what = controls(training[:few], trucks), "pictures" if own else "cars"
    sets = {"generated": denormalize(predict(model, n, seed=seed)), **references}
    rows = {name: FEATURES[features](images) for name, images in sets.items()}
    # A Fréchet distance depends on the number of pictures, and each control has so few.
    equal = {f"generated, the first {few:,}": rows["generated"][:few]}
    rows = {"generated": rows.pop("generated"), **equal, **rows}
    copies = f"copies of 100 training {what}"
    sought = unseen | {name: sets[name] for name in ("generated", copies)}
    found = {name: copying(images, training) for name, images in sought.items()}
    return {
        "features": features,
        "against": f"{len(training)} pictures of one's own" if own else against,
        "n": n,
        "seed": seed,
        "quality": {name: _row(cloud, reference) for name, cloud in rows.items()},
        "copying": {name: float(result["copied"].mean()) for name, result in found.items()},
        "closest": closest(**found["generated"]),
        "loss": {
            name: loss_by_noise_level(model, normalize(images)).tolist()
            for name, images in {f"training {what}": training[:few], **unseen}.items()
        },
    }
