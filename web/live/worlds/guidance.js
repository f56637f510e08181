// Chapter 8: away from a spoilt answer, in a world where both answers are formulas.

import { gaussianNoise } from "../noise.js";
import { CURVE, cleanGuess, evenSteps, mean, mix, toCurve, walk } from "./mixture.js";
import { drawCurve, keepPlane, numbers, startInputs } from "./plane.js";

const [STRONG, WEAK] = [0.1, 0.3]; // the width that each network takes the clouds to have
const DOTS = 300;
const STEPS = 16;
const PARTS = 20;
const LIMITS = [1.6, 1.25];

/** Return the states of a drawing from the points `x` with guidance `w`, the start first. */
export function drawGuided(x, w) {
  const states = [x];
  for (const [a, s] of evenSteps(STEPS)) {
    const [strong, weak] = [STRONG, WEAK].map((width) => walk(x, cleanGuess(x, a, width), a, s));
    states.push((x = mix(w, strong, 1 - w, weak)));
  }
  return states;
}

/** Return the mean distance of points from the curve, and the share in its fullest twentieth. */
export function judge(x) {
  const { distances, nearest } = toCurve(x);
  const places = new Array(PARTS).fill(0);
  const long = CURVE.length / 2 - 1;
  for (const i of nearest) places[Math.min(PARTS - 1, Math.floor((i * PARTS) / long))] += 1;
  return { distance: mean(distances), fullest: Math.max(...places) / nearest.length };
}

const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <label class="live-wide">Guidance w = <span class="live-where"></span>
    <input type="range" name="w" min="0" max="8" step="0.1" value="0"></label>
  ${startInputs(LIMITS, [1.2, 0.9])}
  <p class="live-status" aria-live="polite"></p>
</div>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const selectors = ["canvas", "[name=w]", ".live-where", ".live-status"];
  const [canvas, slider, where, status] = selectors.map((found) => root.querySelector(found));
  const starts = Float64Array.from(gaussianNoise(DOTS, 2, 0));
  let shown, dots, mine;
  keepPlane(root, LIMITS, paint, show);

  function show(start) {
    const w = Number(slider.value);
    // The crowd does not move with the reader's own start.
    if (w !== shown) dots = drawGuided(starts, w).at(-1);
    shown = w;
    mine = drawGuided(start, w);
    where.textContent = w.toFixed(1);
    slider.setAttribute("aria-valuetext", `w = ${w.toFixed(1)}, ${who(w)}`);
    status.textContent = sentence(w);
    canvas.setAttribute("aria-label", `Drawn dots around a curve. ${status.textContent}`);
  }

  function sentence(w) {
    const { distance, fullest } = judge(dots);
    const crowd = `The ${DOTS} dots lie ${distance.toFixed(3)} from the curve on average`;
    const share = `its fullest twentieth holds ${(100 * fullest).toFixed(0)}% of them`;
    const own = judge(mine.at(-1)).distance.toFixed(3);
    return `w = ${w.toFixed(1)}, ${who(w)}. ${crowd}, and ${share}. Yours, from ${numbers(mine[0])}, ends ${own} away.`;
  }

  function paint(pen) {
    const { text, first } = pen.colours;
    drawCurve(pen);
    pen.dots(dots, first, 2);
    pen.way(mine, 0, text, 1.5);
    for (const x of mine) pen.dots(x, text, 2);
    pen.dots(mine.at(-1), text, 5);
  }
}

function who(w) {
  if (w === 0) return "the weak network alone";
  if (w < 1) return "a mixture of both networks";
  return w === 1 ? "the strong network alone" : "beyond the strong network";
}
