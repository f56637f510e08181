"""What `evaluate` found, as tables."""

from diffusion_core.page.notebook import table


def as_table(found: dict[str, object]) -> str:
    """Return what `evaluate` found as Markdown tables: distances, overlap, and shares of copies."""
    quality, copying = found["quality"], found["copying"]
    (floor,) = (
        row["frechet distance"] for name, row in quality.items() if name.startswith("real training")
    )
    distances = [
        {
            "pictures": name,
            "number": f"{row['pictures']:,}",
            "Fréchet distance": f"{row['frechet distance']:.3f}",
            "times the floor": f"{row['frechet distance'] / floor:.1f}",
            "kernel distance × 1,000": f"{1000 * row['kernel distance']:.2f}",
            "interval": " to ".join(f"{1000 * end:.2f}" for end in row["interval"]),
        }
        for name, row in quality.items()
    ]
    measures = ("precision", "recall", "density", "coverage")
    overlaps = [
        {"pictures": name, **{measure: f"{row[measure]:.2f}" for measure in measures}}
        for name, row in quality.items()
    ]
    copies = [{"pictures": name, "copies": f"{share:.2%}"} for name, share in copying.items()]
    return "\n\n".join(table(rows).data for rows in (distances, overlaps, copies))
