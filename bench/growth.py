"""How the cost of our network grows.

    python bench/growth.py                        # everything
    python bench/growth.py size --rounds 3

`size` trains with other batches, pictures and widths, each in a process of its own, several rounds
in turns: results/growth.json. `memory` is the most that a process holds which trains two steps or
draws: results/memory.json; its first row is what the libraries hold before anything is computed.
"""

from peers import OPTIONS, child, in_turns, training_row
from process import SEED, WARM_UP
from recording import run_benches, write_results

SETTINGS = [{"batch": batch} for batch in (16, 32, 64, 128, 256)]
SETTINGS += [{"size": 64}, {"widths": (16, 32, 64)}, {"widths": (64, 128, 256)}]
HELD = [("nothing yet", 0, "{}")]
# The warm-up is all that is trained.
HELD += [("training", n, f"train_some(ours(batch={n}), 0)") for n in (16, 64, 128)]
HELD += [("drawing", n, f"draw_some(draw_by_predict({n}), {n})") for n in (25, 100, 400)]


def size(arguments) -> None:
    """Time training and its peak memory, changing one of batch, picture and widths at a time."""
    calls = [("ours", f"train_some(ours(**{each}), {arguments.images})") for each in SETTINGS]
    rows = []
    for each, found in zip(SETTINGS, in_turns(calls, arguments), strict=True):
        widths = "/".join(map(str, each.get("widths", (32, 64, 128))))
        rows.append({"what": "ours", "widths": widths, **training_row("ours", found)})
    write_results("growth", rows, arguments.results, rounds=arguments.rounds, seed=SEED)


def memory(arguments) -> None:
    """Note the peak memory of training and of drawing so many images at once."""
    rows = []
    for what, size, call in HELD:
        peak = round(child("ours", call, arguments)["peak_megabytes"])
        rows.append({"what": what, "images at once": size, "peak, MB": peak})
    about = {"backend": "tensorflow", "precision": "float32", "steps": WARM_UP}
    write_results("memory", rows, arguments.results, **about)


def main() -> None:
    benches = {"size": size, "memory": memory}
    options = {name: OPTIONS[name] for name in ("rounds", "images")}
    run_benches(benches, __doc__, **options)


if __name__ == "__main__":
    main()
