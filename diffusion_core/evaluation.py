"""Stage 7, evaluation: are the drawn cars good, and are they new?

Pictures are compared as clouds of features. The features come from `classifier`, so the distances
here are *not* the FID of papers, which is defined on the features of one Inception network.
"""

import contextlib
import io
from functools import lru_cache

import keras
import numpy as np
from PIL import Image, ImageFilter
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors

from diffusion_core.checkpoints import in_float32, load_classifier
from diffusion_core.checks import check_size, check_whole
from diffusion_core.data import denormalize, load_cars, load_images, normalize
from diffusion_core.forward import forward_noise, gaussian_noise
from diffusion_core.model import check_images_of, check_model
from diffusion_core.sampling import predict
from diffusion_core.schedule import linear_schedule

NEIGHBOURS = 5  # as the authors of density and coverage advise
COPY_RATIO = 1 / 3
COPY_NEIGHBOURS = 50
FLOOR = "real training cars"
COMPARED = 1000  # as many as there are held-out cars
MOST_EVALUATED = 20_000  # every picture is compared with every other
IMAGE_SHAPE = (32, 32, 3)


def classifier_features(images: np.ndarray) -> np.ndarray:
    """Return the features of our own classifier: uint8 `(n, 32, 32, 3)` to float32 `(n, 192)`.

    Raises `ValueError` for images of another dtype or shape.
    """
    pixels = normalize(_check_pixels(images))
    # Whole batches, so that the network is compiled for one shape.
    padded = np.resize(pixels, (-(-len(pixels) // 250) * 250, *pixels.shape[1:]))
    return _classifier().predict(padded, batch_size=250, verbose=0)[0][: len(pixels)]


def inception_features(images: np.ndarray) -> np.ndarray:
    """Return features of Inception v3: uint8 `(n, 32, 32, 3)` to float32 `(n, 2048)`.

    These are the weights that Keras offers for ImageNet (Szegedy et al. 2015, arXiv:1512.00567),
    downloaded at the first use. FID is defined on another copy of the network, so distances in
    these features are close to FID and still not FID.

    Raises `ValueError` for images of another dtype or shape, `Exception` without internet.
    """
    pixels = normalize(_check_pixels(images))
    network = _inception()
    parts = [
        network.predict_on_batch(
            keras.ops.image.resize(pixels[first : first + 50], (299, 299), antialias=True)
        )
        for first in range(0, len(pixels), 50)
    ]
    return np.concatenate(parts)


FEATURES = {"classifier": classifier_features, "inception": inception_features}


def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the Fréchet distance of two clouds, each taken for a normal distribution.

    `|m1 - m2|² + trace(C1 + C2 - 2 (C1 C2)^½)` with means `m` and covariances `C` (Dowson and
    Landau 1982; used for pictures by Heusel et al. 2017, arXiv:1706.08500, equation 6). It is
    biased: fewer rows make it larger.

    Args:
        features, reference: floats `(n, d)` and `(m, d)`, at least two rows each.

    Raises:
        ValueError: other shapes, or NaN.
    """
    features, reference = _check_features(features, reference)
    means = features.mean(0), reference.mean(0)
    # Of a single feature, cov returns a bare number.
    covariance, other = (np.atleast_2d(np.cov(a, rowvar=False)) for a in (features, reference))
    # (C1 C2) and C1^½ C2 C1^½ have the same eigenvalues, and the second is symmetric.
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    distance = np.square(means[0] - means[1]).sum() + np.trace(covariance + other) - 2 * cross
    return float(distance)


def kernel_distance(
    features: np.ndarray, reference: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the kernel distance (KID) of two clouds and the ends of its 95% bootstrap interval.

    The squared maximum mean discrepancy with the kernel `(x · y / d + 1)³` (Bińkowski et al. 2018,
    arXiv:1801.01401, section 4), without bias: pairs of a row with itself are left out, in every
    bootstrap draw too. It may therefore fall below zero for equal clouds.

    Args:
        features, reference: floats `(n, d)` and `(m, d)`, at least two rows each.
        draws: bootstrap draws, each of both clouds with replacement; at most 100,000, and 2²⁹ drawn
            rows in all.
        seed: of these draws.

    Returns:
        `(distance, low, high)`.

    Raises:
        ValueError: other shapes, NaN, or bad `draws` or `seed`.
    """
    features, reference = _check_features(features, reference)
    draws = check_whole("draws", draws, most=100_000)
    random = np.random.default_rng(check_whole("seed", seed, least=0))
    sizes = len(features), len(reference)
    check_size(f"draws is {draws} for {sizes[0]} and {sizes[1]} rows", draws * sum(sizes))
    # Row 0 counts every picture once; the others count how often a bootstrap draw took it.
    counts = [np.ones((1 + draws, n), np.int32) for n in sizes]
    for count in counts:
        n = count.shape[1]
        for first in range(1, 1 + draws, _BLOCK):
            part = count[first : first + _BLOCK]
            part[:] = random.multinomial(n, np.full(n, 1 / n), size=len(part))

    def total(a, b, count, other):
        """Sum the kernel over all pairs of each draw, and over the pairs of a row with itself."""
        sums, same = np.zeros(1 + draws), np.zeros(1 + draws)
        # In blocks, since the kernel of all pairs would fill the memory.
        for column in range(0, len(b), _BLOCK):
            columns = slice(column, column + _BLOCK)
            gram = (a @ b[columns].T / a.shape[1] + 1) ** 3
            diagonal = np.diagonal(gram, -column) if a is b else 0
            for first in range(0, 1 + draws, 4 * _BLOCK):
                rows = slice(first, first + 4 * _BLOCK)
                taken = other[rows, columns].astype(np.float64)
                sums[rows] += (count[rows].astype(np.float64) @ gram * taken).sum(1)
                same[rows] += (taken**2 * diagonal).sum(1)
        return sums, same

    def within(cloud, count):
        sums, same = total(cloud, cloud, count, count)
        squares = np.array([np.square(row, dtype=np.float64).sum() for row in count])
        return (sums - same) / (len(cloud) ** 2 - squares)

    across = total(features, reference, *counts)[0] / (sizes[0] * sizes[1])
    distances = within(features, counts[0]) + within(reference, counts[1]) - 2 * across
    low, high = np.percentile(distances[1:], [2.5, 97.5])
    return float(distances[0]), float(low), float(high)


_BLOCK = 256


def precision_recall(features: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return precision, recall, density and coverage with 5 neighbours.

    Precision: the share of pictures that lie among the real ones; recall: the share of real ones
    that lie among the pictures (Kynkäänniemi et al. 2019, arXiv:1904.06991). Density and coverage:
    the same two thoughts, less shaken by outliers (Naeem et al. 2020, arXiv:2002.09797).

    Args:
        features: floats `(n, d)` of the pictures to judge, at least seven rows.
        reference: floats `(m, d)` of the real ones, at least seven rows.

    Raises:
        ValueError: other shapes, or NaN.
    """
    features, reference = _check_features(features, reference, least=NEIGHBOURS + 2)
    with contextlib.redirect_stdout(io.StringIO()):  # prdc prints what it counts
        found = compute_prdc(reference, features, nearest_k=NEIGHBOURS)
    return {name: float(value) for name, value in found.items()}


def nearest_training(rows: np.ndarray, training: np.ndarray) -> dict[str, np.ndarray]:
    """Find each row's nearest training row, and how much nearer it is than the next 50.

    A picture counts as a copy when the distance to its nearest training picture is below a third
    of the mean distance to the next 50. The comparison with the next 50 is that of Carlini et al.
    2023 (arXiv:2301.13188); the bound of a third is this book's.

    Args:
        rows: floats `(n, d)`, pixels or features.
        training: floats `(m, d)`, at least 51 rows.

    Returns:
        `nearest`, integers `(n,)` below `m`; `ratio`, floats `(n,)`; `copied`, booleans `(n,)`.

    Raises:
        ValueError: other shapes, NaN, or too few training rows.
    """
    rows, training = _check_features(rows, training, least=1)
    if len(training) <= COPY_NEIGHBOURS:
        raise ValueError(f"there are {len(training)} training rows; expected more than 50.")
    search = NearestNeighbors(n_neighbors=COPY_NEIGHBOURS + 1, algorithm="brute").fit(training)
    distances, indices = search.kneighbors(rows)
    ratio = distances[:, 0] / np.maximum(distances[:, 1:].mean(1), 1e-12)
    return {"nearest": indices[:, 0], "ratio": ratio, "copied": ratio < COPY_RATIO}


def loss_by_noise_level(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the mean absolute error of every step, divided by the size of the step.

    Args:
        model: a network of `make_model`.
        images: float32 `(n, height, width, channels)` in [-1, 1]; image `i` gets the noise of
            `(0, i)` at every step.

    Returns:
        floats `(16,)`, for the 16 linear steps from pure noise to clean.

    Raises:
        TypeError, ValueError: no network of `make_model`, or images that do not fit it.
    """
    schedule, images = linear_schedule(), check_images_of(check_model(model), images)
    noise = gaussian_noise(len(images), images.shape[1:])
    losses = []
    for t in range(schedule.timesteps):
        question, answer = forward_noise(images, t, schedule, noise=noise)
        levels = [np.full((len(images), 1), schedule.noise[at], np.float32) for at in (t, t + 1)]
        guess = model.predict([question, *levels], batch_size=250, verbose=0)
        step = schedule.noise[t] - schedule.noise[t + 1]
        losses.append(float(np.abs(guess - answer).mean() / step))
    return np.array(losses)


def controls(training: np.ndarray, trucks: np.ndarray) -> dict[str, np.ndarray]:
    """Return sets of pictures whose worth is known, to read the table by.

    Args:
        training: uint8 `(n, 32, 32, 3)`, at least 1,000 real training cars; the first 1,000 are
            used, as they are or spoilt.
        trucks: uint8, real trucks.

    Returns:
        The name of each set and its 1,000 pictures, uint8.
    """
    random = np.random.default_rng(0)
    cars, copied = training[:COMPARED], training[:100]
    return {
        FLOOR: cars,
        "cars with noise of 4 grey levels": np.clip(
            np.rint(cars + random.normal(0, 4, cars.shape)), 0, 255
        ).astype(np.uint8),
        "cars as JPEG, quality 75": np.stack([_as_jpeg(car) for car in cars]),
        "blurred cars": np.stack([_blurred(car) for car in cars]),
        "real trucks": trucks[:COMPARED],
        "pure noise": random.integers(0, 256, cars.shape, dtype=np.uint8),
        "copies of 100 training cars": copied[random.integers(len(copied), size=len(cars))],
    }


def compare(
    images: np.ndarray, held_out: np.ndarray, extract=classifier_features
) -> dict[str, float | int | list[float]]:
    """Return one row of the quality table: uint8 pictures against uint8 held-out cars.

    Precision, recall, density and coverage use the first 1,000 pictures, since recall and coverage
    grow with their number; the other two use all.
    """
    return _compare(extract(images), extract(held_out))


def _compare(features, reference):
    distance, low, high = kernel_distance(features, reference)
    return {
        "pictures": len(features),
        "frechet distance": frechet_distance(features, reference),
        "kernel distance": distance,
        "interval": [low, high],
        **precision_recall(features[:COMPARED], reference),
    }


def copying(
    sets: dict[str, np.ndarray], training: np.ndarray, extract=classifier_features
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Look for the uint8 pictures of several sets among uint8 cars and their mirror images.

    Returns:
        For each name of `sets`, and there for "pixels" and for "features", what `nearest_training`
        returns. A nearest index of `len(training)` or above means the mirror image of the car at
        that index minus `len(training)`.
    """
    features = {name: extract(images) for name, images in sets.items()}
    return _search(sets, features, training, extract)


def _search(sets, features, training, extract):
    both = np.concatenate([training, training[:, :, ::-1]])
    # One space after the other, since the rows of all cars are large.
    pixels = _flat(both)
    by_pixels = {name: nearest_training(_flat(images), pixels) for name, images in sets.items()}
    del pixels
    rows = extract(both)
    return {
        name: {"pixels": by_pixels[name], "features": nearest_training(features[name], rows)}
        for name in sets
    }


def evaluate(
    model: keras.Model, n: int = 5000, seed: int = 0, features: str = "classifier"
) -> dict[str, object]:
    """Draw `n` pictures and measure them against the 1,000 held-out cars.

    Args:
        model: a network of `make_model`.
        n: how many pictures, from 1,000 to 20,000; the tables of the book use 5,000.
        seed: of the pictures.
        features: "classifier", or "inception" (needs internet once).

    Returns:
        `quality`, a dict of rows of `compare` by name, "generated" and its first 1,000 first;
        `copying`, for the generated pictures, the held-out cars and the copies, the share that
        counts as copied by pixels and by features; `closest`, the ten generated pictures with the
        smallest ratios by pixels and by features, with the training car that each resembles;
        `loss`, the loss by noise level on 1,000 training and on the held-out cars; and the
        arguments.

    Raises:
        TypeError, ValueError: no network of `make_model`, or one of other pictures than 32×32 in
            colour; a bad `n` or `features`, or a source of images without the other classes.
    """
    shape = check_model(model).input_shape[0][1:]
    if shape != IMAGE_SHAPE:
        raise ValueError(
            f"the model draws pictures of {shape}, and they are compared with cars of "
            f"{IMAGE_SHAPE}; give a network of that size."
        )
    n = check_whole("n", n, least=COMPARED, most=MOST_EVALUATED)
    if features not in FEATURES:
        raise ValueError(f"features is {features!r}; expected one of {', '.join(FEATURES)}.")
    extract = FEATURES[features]
    trucks = load_images("truck", "test")
    training, held_out = load_cars(), load_cars("test")
    generated = denormalize(predict(model, n, seed=seed))
    # A Fréchet distance depends on the number of pictures, and the controls have 1,000 each.
    first = "generated, the first 1,000"
    sets = {"generated": generated, first: generated[:COMPARED], **controls(training, trucks)}
    rows = {name: extract(images) for name, images in sets.items() if name != first}
    rows |= {"held-out cars": extract(held_out), first: rows["generated"][:COMPARED]}
    quality = {name: _compare(rows[name], rows["held-out cars"]) for name in sets}
    sets = {"held-out cars": held_out, **sets}
    sought = ("held-out cars", "generated", "copies of 100 training cars")
    found = _search({name: sets[name] for name in sought}, rows, training, extract)
    return {
        "features": features,
        "n": n,
        "seed": seed,
        "quality": quality,
        "copying": {
            name: {space: float(result["copied"].mean()) for space, result in spaces.items()}
            for name, spaces in found.items()
        },
        "closest": {
            space: _closest(result, len(training)) for space, result in found["generated"].items()
        },
        "loss": {
            "training": loss_by_noise_level(model, normalize(training[:COMPARED])).tolist(),
            "held out": loss_by_noise_level(model, normalize(held_out)).tolist(),
        },
    }


def as_table(found: dict[str, object]) -> str:
    """Return what `evaluate` found as Markdown tables: distances, overlap, and shares of copies."""
    quality = found["quality"]
    floor = quality[FLOOR]["frechet distance"]
    distances = [
        [
            name,
            f"{row['pictures']:,}",
            f"{row['frechet distance']:.3f}",
            f"{row['frechet distance'] / floor:.1f}",
            f"{1000 * row['kernel distance']:.2f}",
            " to ".join(f"{1000 * end:.2f}" for end in row["interval"]),
        ]
        for name, row in quality.items()
    ]
    overlap = ("precision", "recall", "density", "coverage")
    overlaps = [[name, *(f"{row[of]:.2f}" for of in overlap)] for name, row in quality.items()]
    copies = [
        [name, f"{shares['pixels']:.2%}", f"{shares['features']:.2%}"]
        for name, shares in found["copying"].items()
    ]
    heads = ("number", "Fréchet distance", "times the floor", "kernel distance × 1,000", "interval")
    tables = [
        [("pictures", *heads), *distances],
        [("pictures", *overlap), *overlaps],
        [("pictures", "copies by pixels", "copies by features"), *copies],
    ]
    return "\n\n".join(_table(*rows) for rows in tables)


def _table(head, *rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _closest(result, cars):
    order = np.argsort(result["ratio"], kind="stable")[:10]
    return [
        {
            "picture": int(i),
            "car": int(result["nearest"][i] % cars),
            "mirrored": bool(result["nearest"][i] >= cars),
            "ratio": float(result["ratio"][i]),
        }
        for i in order
    ]


def _as_jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def _blurred(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


def _flat(images):
    return images.reshape(len(images), -1) / np.float32(255)


@lru_cache(maxsize=1)
def _classifier():
    return load_classifier()


@lru_cache(maxsize=1)
def _inception():
    with in_float32():
        return keras.applications.InceptionV3(include_top=False, pooling="avg")


def _check_pixels(images):
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != IMAGE_SHAPE or not len(images):
        raise ValueError(
            f"images are {images.dtype} {images.shape}; expected uint8 (n, 32, 32, 3) with at "
            "least one image. Call denormalize on pictures of predict."
        )
    return images


def _check_features(features, reference, least=2):
    features, reference = np.asarray(features, np.float64), np.asarray(reference, np.float64)
    shapes = features.shape, reference.shape
    if {features.ndim, reference.ndim} != {2} or shapes[0][1:] != shapes[1][1:]:
        raise ValueError(f"the rows have the shapes {shapes}; expected (n, d) and (m, d).")
    if min(len(features), len(reference)) < least:
        raise ValueError(
            f"there are {shapes[0][0]} and {shapes[1][0]} rows; expected at least {least}."
        )
    if not (np.isfinite(features).all() and np.isfinite(reference).all()):
        raise ValueError("the features hold NaN or infinite values; expected finite numbers.")
    return features, reference
