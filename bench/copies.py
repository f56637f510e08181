"""The search for copies, put to the test, and what it finds among drawn cars.

    python bench/copies.py [--pictures 5000]

Plants 200 altered copies of each kind and says how many are found; looks for the held-out cars, and
for cars drawn alone and guided; numbers the groups of training cars that are copies of each other,
and compares how often each group is drawn with its share of the data. Writes results/copies.json.
"""

import io

import numpy as np
from PIL import Image, ImageFilter
from recording import read_arguments, write_results

from diffusion_core import denormalize, guided, load_cars, load_pretrained, predict
from diffusion_core.runs.states import weights_digest
from diffusion_core.sources.copies import COPY, copying, groups
from diffusion_core.sources.pretrained import GUIDE

PLANTED, LARGEST = 200, 6


def whole(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def shifted(car, random):
    down, right = random.choice([-3, -2, -1, 1, 2, 3], size=2)
    padded = np.pad(car, ((3, 3), (3, 3), (0, 0)), "edge")
    return padded[3 + down : 35 + down, 3 + right : 35 + right]


def jpeg(car, random):
    file = io.BytesIO()
    Image.fromarray(car).save(file, "JPEG", quality=50)
    return Image.open(file)


def enlarged(car, random):
    side = random.integers(24, 31)
    top, left = random.integers(0, 33 - side, size=2)
    part = Image.fromarray(car[top : top + side, left : left + side])
    return part.resize((32, 32), Image.Resampling.BICUBIC)


def turned(car, random):
    return Image.fromarray(car).rotate(random.choice([-5, 5]), Image.Resampling.BICUBIC)


ALTERATIONS = {
    "unchanged": lambda car, random: car,
    "mirrored": lambda car, random: car[:, ::-1],
    "shifted by 1 to 3 pixels": shifted,
    "brightness ±15%": lambda car, random: car * random.uniform(0.85, 1.15),
    "contrast ±15%": lambda car, random: (
        (car - car.mean()) * random.uniform(0.85, 1.15) + car.mean()
    ),
    "colours shifted by up to 25 levels": lambda car, random: car + random.uniform(-25, 25, 3),
    "noise of 8 levels": lambda car, random: car + random.normal(0, 8, car.shape),
    "blurred": lambda car, random: Image.fromarray(car).filter(ImageFilter.GaussianBlur(1)),
    "JPEG, quality 50": jpeg,
    "cropped to 24 to 30 pixels and enlarged": enlarged,
    "turned by 5 degrees": turned,
}


def main() -> None:
    options = read_arguments(__doc__, pictures=5000)
    training, held_out = load_cars(), load_cars("test")
    rows = []
    for kind, alter in ALTERATIONS.items():
        random = np.random.default_rng(0)
        planted = random.choice(len(training), PLANTED, replace=False)
        altered = [whole(alter(training[car], random)) for car in planted]
        found = copying(np.stack(altered), training)
        right = found["copied"] & (found["nearest"] == planted)
        rows.append({"copies": kind, "planted": PLANTED, "found": float(found["copied"].mean())})
        rows[-1] |= {"the car itself": float(right.mean())}
    network, weak = load_pretrained(), load_pretrained(GUIDE)
    pair, numbers = guided(network, weak), groups(training)
    crowds = {"held-out cars": held_out}
    for name, model in {"drawn alone": network, "drawn with guidance": pair}.items():
        crowds[name] = denormalize(predict(model, options.pictures))
    searched = {name: copying(images, training) for name, images in crowds.items()}
    sizes = np.bincount(numbers)
    largest = np.argsort(-sizes, kind="stable")[:LARGEST]
    shares = {"training cars": sizes / len(training)}
    for name, found in searched.items():
        nearest = numbers[found["nearest"]]
        shares[name] = np.bincount(nearest, minlength=len(sizes)) / len(nearest)
    about = {
        "network": weights_digest(pair),
        "bound": COPY,
        "flagged": {name: float(found["copied"].mean()) for name, found in searched.items()},
        "closest held-out cars": [
            {"picture": int(i), "car": int(searched["held-out cars"]["nearest"][i])}
            for i in np.flatnonzero(searched["held-out cars"]["copied"])
        ],
        "groups": int((sizes > 1).sum()),
        "cars in groups": int(sizes[sizes > 1].sum()),
        "largest groups": [
            {"cars": np.flatnonzero(numbers == group)[:8].tolist(), "size": int(sizes[group])}
            | {name: float(share[group]) for name, share in shares.items()}
            for group in largest
        ],
    }
    write_results("copies", rows, options.results, **about)


if __name__ == "__main__":
    main()
