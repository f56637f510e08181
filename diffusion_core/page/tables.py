"""What `evaluate` found, as tables."""

from diffusion_core.sources.features import FLOOR


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
