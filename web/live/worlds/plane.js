// What the worlds of two pixels share on the page: the first pixel to the right, the second one up.

import { keepPainted, onDrag } from "../canvas.js";
import { CURVE } from "./mixture.js";

/** The two inputs for a point of the plane, which reaches ±`right` and ±`up` from its middle. */
export const startInputs = ([right, up], [first, second]) => `
<div class="live-row">
  <label>Your start: first pixel <input type="range" name="first"
    min="${-right}" max="${right}" step="0.05" value="${first}"></label>
  <label>Your start: second pixel <input type="range" name="second"
    min="${-up}" max="${up}" step="0.05" value="${second}"></label>
</div>`;

/** Return the two numbers of a point in words. */
export const numbers = ([first, second]) => `(${first.toFixed(2)}, ${second.toFixed(2)})`;

/** Draw the curve of all pictures of chapters 8 and 9. */
export function drawCurve(pen) {
  const curve = Array.from({ length: CURVE.length / 2 }, (_, i) => CURVE.subarray(2 * i));
  pen.way(curve, 0, pen.colours.second, 4);
}

/**
 * Keep the canvas of a world painted with what `draw(pen)` draws, and the names of its axes.
 * Calls `show(start)` now, at every input, and when a start is dragged to.
 */
export function keepPlane(root, [right, up], draw, show) {
  const canvas = root.querySelector("canvas");
  const inputs = ["first", "second"].map((name) => root.querySelector(`[name=${name}]`));
  const repaint = keepPainted(canvas, up / right, paint);
  const change = () => {
    show(Float64Array.from(inputs, ({ value }) => Number(value)));
    repaint();
  };
  onDrag(canvas, (x, y) => {
    inputs[0].value = (2 * x - 1) * right;
    inputs[1].value = (1 - 2 * y) * up;
    change();
  });
  root.addEventListener("input", change);
  root.addEventListener("click", ({ target }) => target.closest("button") && change());
  change();

  function paint(context, width, height, colours) {
    const place = (x, at) => [
      (1 + x[at] / right) * (width / 2),
      (1 - x[at + 1] / up) * (height / 2),
    ];
    const pen = {
      colours,
      /** Draw the way of point `k` through the states. */
      way(states, k, colour, thickness) {
        context.beginPath();
        for (const x of states) context.lineTo(...place(x, 2 * k));
        Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
        context.stroke();
      },
      dots(x, colour, radius) {
        context.fillStyle = colour;
        for (let at = 0; at < x.length; at += 2) {
          context.beginPath();
          context.arc(...place(x, at), radius, 0, 2 * Math.PI);
          context.fill();
        }
      },
      /** Draw points as dots, triangles or squares: kind 0, 1 or 2. */
      marks(x, kind, colour, radius) {
        if (kind === 0) return pen.dots(x, colour, radius);
        context.fillStyle = colour;
        for (let at = 0; at < x.length; at += 2) {
          const [across, down] = place(x, at);
          context.beginPath();
          for (let corner = 0; corner < kind + 2; corner++) {
            const turn = (2 * Math.PI * (corner + 0.5)) / (kind + 2);
            context.lineTo(across + radius * Math.sin(turn), down + radius * Math.cos(turn));
          }
          context.fill();
        }
      },
      crosses(x, colour, size) {
        context.beginPath();
        for (let at = 0; at < x.length; at += 2) {
          const [across, down] = place(x, at);
          for (const slope of [size, -size]) {
            context.moveTo(across - size, down - slope);
            context.lineTo(across + size, down + slope);
          }
        }
        Object.assign(context, { strokeStyle: colour, lineWidth: 1.5 });
        context.stroke();
      },
    };
    context.fillStyle = colours.background;
    context.fillRect(0, 0, width, height);
    draw(pen);
    context.fillStyle = colours.text;
    context.fillText("first pixel →", 8, height - 8);
    context.fillText("↑ second pixel", 8, 18);
  }
}
