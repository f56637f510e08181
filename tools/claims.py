"""Write the README's section "Measured" from what the benches recorded.

    python tools/claims.py

A test checks that the README says what the files in bench/results/ say.
"""

import re
from pathlib import Path

from diffusion_core.page.notebook import recorded

README = Path(__file__).parents[1] / "README.md"
SECTION = re.compile(r"(?<=## Measured\n\n).*?(?=\n## )", re.DOTALL)

PEERS = {
    "ours": "ours",
    "article": "the article's network",
    "ddim": "keras.io's example",
    "diffusers": "`diffusers` at equal operations",
}


def claims() -> str:
    """Return the section's text."""
    files = ("peers-training", "peers-drawing", "peers-quality")
    training, drawing, trained = results = [recorded(name) for name in files]
    guided, alone = recorded("evaluation-guided"), recorded("evaluation")["quality"]["generated"]
    machine = "{cores} cores of an {processor}, with TensorFlow {tensorflow}"
    machines = [machine.format(**file["machine"]) for file in results]
    if machines[0] != machines[1]:
        raise ValueError(f"{', '.join(files[:2])} come from {machines[:2]}; record them on one.")
    speed = {row["what"]: row["images per second"] for row in training["rows"]}
    drawn = [row for row in drawing["rows"] if row["pictures"] == 25]
    again = {row["what"]: row["seconds to draw again"] for row in drawn}
    first = {row["what"]: row["seconds from the start until drawn"] for row in drawn}
    # The best of a contestant's weights counts.
    rows = sorted(trained["rows"], key=lambda row: row["frechet distance"], reverse=True)
    after = {row["what"]: row for row in rows}
    reached = ",\n  ".join(
        "{} {frechet distance:.1f} ({pictures:,} pictures)".format(name, **after[what])
        for what, name in PEERS.items()
    )
    browser, pad, easel = (recorded(name) for name in ("browser", "pad", "easel"))
    live = ";\n  ".join(f"{row['what']}: {row['seconds']:.2f} s" for row in browser["rows"])
    near, jpeg, floor = (
        guided["quality"][name]
        for name in ("generated", "cars as JPEG, quality 75", "real training cars")
    )
    copies, control = (guided["copying"][n] for n in ("generated", "held-out cars"))

    held_out = [row for row in recorded("classes")["rows"] if row["against"] == "held-out"]
    told, louder = held_out[:2]
    shares = [row["taken for its class"] for row in held_out[:2]] + [told["real ones taken"]]

    def times(name):
        return f"{speed['ours'] / speed[name]:.1f} times"

    return f"""\
Speed on {machines[0]};
short training on {machines[2]};
quality and copies on {machine.format(**guided["machine"])}
([what it costs](book/costs.ipynb) shows more, and [`bench/results/`](bench/results) all):

- **Training**: {speed["ours"]:.0f} images/s. That is {times("article")} the article's network,
  {times("ddim")} keras.io's DDIM example at 32×32, {times("diffusers")} `diffusers` at equal
  operations, {times("twin")} the same network in PyTorch, and {times("twin-compiled")} that network
  compiled by PyTorch.
- **Drawing** 25 cars in 16 steps: {again["predict"]:.2f} s; by 16 calls of
  `model.predict` {again["model-predict"]:.2f} s, by `diffusers` at equal
  operations {again["diffusers"]:.2f} s. From the start of the program, with
  compiling: {first["predict"]:.1f}, {first["model-predict"]:.1f} and {first["diffusers"]:.1f} s.
- **After {after["ours"]["minutes"]:.0f} CPU minutes** of training from nothing, Fréchet distance
  (ours by an earlier recipe: 16 levels, Adam alone): {reached}.
- **In the browser**, on one of {browser["machine"]["cores"]} cores of an
  {browser["machine"]["processor"]}, once loaded:
  {live};
  a second holds {pad["rows"][0]["redraws a second"]:.1f} redraws of nine cars of chapter 10, and
  {easel["rows"][0]["redraws of four pictures a second"]:.1f} of the easel's four answers.
- **Quality**: Fréchet distance to the held-out cars {near["frechet distance"]:.2f} with
  guidance {guided["guidance"]:g}, {alone["frechet distance"]:.2f} without
  ({alone["pictures"]:,} pictures each). That of {jpeg["pictures"]:,} real cars saved as JPEG of
  quality 75 is {jpeg["frechet distance"]:.2f}, that of {floor["pictures"]:,} real training cars
  {floor["frechet distance"]:.2f}. The features are those of the book's own classifier, so these are
  not FID values.
- **Copies** of training cars: {copies:.1%} of {guided["n"]:,} guided cars; the same test finds
  {control:.1%} in the held-out cars, since CIFAR-10 holds many cars twice.
- **Ten classes**: of the pictures that `ten` draws with guidance {louder["w"]:g}, another
  classifier takes {shares[1]:.0%} for the class asked for; without, {shares[0]:.0%}; of the real
  held-out ones {shares[2]:.0%}. Fréchet distance to these {louder["frechet distance"]:.2f} with
  guidance, {told["frechet distance"]:.2f} without ({told["pictures"]:,} pictures each).
"""


if __name__ == "__main__":
    README.write_text(SECTION.sub(lambda _: claims(), README.read_text()))
