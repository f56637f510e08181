// Walk the loss: two weights, the valley L(w) = w₁² + 200 w₂² of chapter 5, and two walkers in it,
// gradient descent and Adam, with their learning rates under the hand.

import { keepPainted, onDrag } from "../canvas.js";
import { gaussianNoise } from "../noise.js";

const CURVATURE = [1, 200];
const STEPS = 100;
// The valley of a single example has its bottom about so far from that of all: small batches see
// the average of a few of these.
const SPREAD = [2, 0.4];
const HEIGHTS = [1, 4, 20, 80, 200, 400, 700];
const [WIDE, HIGH] = [5, 2]; // the map shows weights up to these
const [LOWEST, HIGHEST] = [-5, 3]; // powers of ten in the chart of the loss

/** Return the loss of all examples. */
export function loss(w) {
  return CURVATURE[0] * w[0] ** 2 + CURVATURE[1] * w[1] ** 2;
}

/** Return where the valleys of `steps` batches have their bottoms; that of all examples at 0. */
export function bottoms(batch, steps = STEPS) {
  const noise = gaussianNoise(1, 2 * steps, 0);
  const scale = batch ? 1 / Math.sqrt(batch) : 0;
  return Array.from({ length: steps }, (_, k) => SPREAD.map((s, i) => s * scale * noise[2 * k + i]));
}

/** A rule makes a step of length 1 from the gradient `g`, its own memory and the count of steps. */
export const rules = {
  "gradient descent": (g) => g,
  Adam: (g, memory, k) => {
    memory.m = g.map((slope, i) => 0.9 * (memory.m?.[i] ?? 0) + 0.1 * slope);
    memory.v = g.map((slope, i) => 0.999 * (memory.v?.[i] ?? 0) + 0.001 * slope ** 2);
    const corrected = (values, kept) => values.map((value) => value / (1 - kept ** k));
    const [m, v] = [corrected(memory.m, 0.9), corrected(memory.v, 0.999)];
    return m.map((value, i) => value / (Math.sqrt(v[i]) + 1e-7));
  },
};

/** Return the weights before the first step and after each, one for every bottom. */
export function walk(rule, start, rate, batches, falling) {
  const [path, memory] = [[start], {}];
  batches.forEach((bottom, k) => {
    const w = path[k];
    const g = w.map((value, i) => 2 * CURVATURE[i] * (value - bottom[i]));
    const length = falling ? rate * (1 - k / batches.length) : rate;
    const step = rule(g, memory, k + 1);
    path.push(w.map((value, i) => value - length * step[i]));
  });
  return path;
}

/** Return the running average of a path: mostly its last tenth. */
export function averaged(path) {
  let mean = path[0];
  return path.map((w, k) => {
    const kept = k ? (1 - 1 / k) ** 10 : 0;
    return (mean = mean.map((value, i) => kept * value + (1 - kept) * w[i]));
  });
}

const range = (words, name, min, max, step, value) =>
  `<label class="live-wide">${words} <span class="live-where" data-of="${name}"></span>
    <input type="range" name="${name}" min="${min}" max="${max}" step="${step}" value="${value}"></label>`;
const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<form class="live-controls">
  ${range("Learning rate of gradient descent", "descent", -4, -2, 0.01, -2.32)}
  ${range("Learning rate of Adam", "adam", -3, 0.5, 0.01, -0.52)}
  ${range("Step", "step", 0, STEPS, 1, 40)}
  <div class="live-row"><button type="button" name="play">Play</button></div>
  <div class="live-row">
    <label>Batch <select name="batch"><option value="0">all examples</option>
      <option>64</option><option>16</option><option>4</option><option>1</option></select></label>
    <label><input type="checkbox" name="falling"> rate falls to zero</label>
    <label><input type="checkbox" name="average"> average of the weights</label>
  </div>
  <div class="live-row">${range("Start: w₁", "w1", -5, 5, 0.05, -4)}${range("w₂", "w2", -2, 2, 0.05, 1.5)}</div>
  <p class="live-status" aria-live="polite"></p>
</form>`;
