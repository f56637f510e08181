"""Train on several machines, one process on each, with JAX: each computes its share of a step.

    python examples/several_machines.py --first 10.0.0.1:9876 --machines 2 --this 0 \\
        --epochs 20 --weights-dir /shared/weights
    python examples/several_machines.py --first 10.0.0.1:9876 --machines 2 --this 1 \\
        --epochs 20 --weights-dir /shared/weights

The same command on every machine, but for `--this`. They wait up to five minutes for each other. A
machine may have one GPU or several. All see the same folder, in which the first one writes; so stop
that one, and the others end with it. Whatever happens, the same commands go on from the last state,
on more or fewer machines too. The processes trust whoever reaches their port: keep it inside your
own network.
"""

import argparse
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras

from diffusion_core import load_cars, make_model, normalize, train
from diffusion_core.runs.devices import spread


def main() -> None:
    """Join the other machines, then train as on one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", required=True, help="HOST:PORT of the first machine, free there")
    parser.add_argument("--machines", type=int, required=True, help="how many there are")
    parser.add_argument("--this", type=int, required=True, help="the number of this one, from 0")
    parser.add_argument("--epochs", type=int, required=True, help="the last epoch of the run")
    parser.add_argument("--batch-size", type=int, default=64, help="of all machines together (64)")
    parser.add_argument("--images", type=int, help="use only so many of the 5,000 cars")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw (0)")
    parser.add_argument("--weights-dir", type=Path, required=True, help="a folder that all see")
    options = parser.parse_args()

    # This must come before anything is computed.
    keras.distribution.initialize(options.first, options.machines, options.this)
    # Every machine starts with the same weights.
    keras.utils.set_random_seed(options.seed)
    history = train(
        spread(make_model()),
        normalize(load_cars()[: options.images]),
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        weights_dir=options.weights_dir,
    )
    print(f"machine {options.this}: loss {history['loss'][-1]:.6f}")


if __name__ == "__main__":
    main()
