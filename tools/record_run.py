"""Record a run of the shipped network: what the live boxes show before, or without, drawing.

    python tools/record_run.py _build/live/recorded

Writes draw-00.png to draw-16.png (nine cars of seed 0, from noise to finished), noise-00.png to
noise-08.png (the first of them on its way back), cars.png (six finished cars side by side) and
captions.json.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import diffusion_core as core
from diffusion_core.page.figures import image_grid, png_bytes
from diffusion_core.runs.files import write_atomically


def main(folder: Path) -> None:
    """Write all pictures and their captions."""
    captions = {}

    def write(name, picture, caption):
        write_atomically(folder / name, png_bytes(picture))
        captions[name] = caption

    states = core.predict_step(core.load_pretrained("small"), n=9, seed=0)
    for step, (state, level) in enumerate(zip(states, core.linear_schedule().noise, strict=True)):
        caption = f"Step {step} of 16: noise level {level:.2f}"
        write(f"draw-{step:02d}.png", image_grid(state), caption)

    cars = core.denormalize(states[-1, :6])
    write_atomically(folder / "cars.png", png_bytes(np.concatenate(cars, axis=1)))
    clean = core.normalize(cars[0])
    noise = core.gaussian_noise(1, clean.shape, seed=0)[0]
    for number, level in enumerate(np.linspace(0, 1, 9, dtype=np.float32)):
        noisy = (1 - level) * clean + level * noise
        write(f"noise-{number:02d}.png", core.denormalize(noisy), f"Noise level {level:.2f}")

    write_atomically(folder / "captions.json", json.dumps(captions, indent=1).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
