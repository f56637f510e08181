"""Make the shipped files of a network from the folder that a training run wrote.

    python tools/ship.py WEIGHTS_DIR NAME

Writes to diffusion_core/pretrained/: NAME.safetensors (averaged weights, float16), earlier epochs,
NAME-history.json, and the stand-in sheet of 1,024 cars (seed 0).
"""

import json
import shutil
import sys
from pathlib import Path

from diffusion_core import checkpoints, data, figures, files, sampling

EPOCHS = (1, 5, 20, 100)


def main(weights_dir: Path, name: str) -> None:
    """Write every shipped file of one network."""
    network = checkpoints.load_weights_dir(weights_dir)
    checkpoints.export(network, checkpoints.PRETRAINED / f"{name}.safetensors")
    for epoch in EPOCHS:
        source = weights_dir / f"epoch-{epoch:03d}.safetensors"
        shutil.copyfile(source, checkpoints.PRETRAINED / f"{name}-epoch-{epoch:03d}.safetensors")
    history = checkpoints.load_state_history(checkpoints.find_latest(weights_dir))
    content = json.dumps(history, indent=1).encode()
    files.write_atomically(checkpoints.PRETRAINED / f"{name}-history.json", content)
    # Drawn with the shipped float16 weights, so that anyone can draw the same sheet.
    cars = data.denormalize(sampling.predict(checkpoints.load_pretrained(name), 1024))
    sheet = cars.reshape(32, 32, 32, 32, 3).swapaxes(1, 2).reshape(1024, 1024, 3)
    files.write_atomically(data.STAND_IN, figures.png_bytes(sheet))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
