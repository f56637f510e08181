// A narrow valley, and the ways down: gradient descent, Adam, and the average of the weights, as in
// chapter 5. Weights are pairs of numbers; a path is a list of them.

import { gaussianNoise } from "./noise.js";

/** The loss of all examples is L(w) = w₁² + 200 w₂². */
export const CURVATURE = [1, 200];
// The valley of a single example has its bottom about so far from that of all.
const SPREAD = [2, 0.4];

/** Return the loss of all examples. */
export function loss(w) {
  return w.reduce((sum, value, i) => sum + CURVATURE[i] * value ** 2, 0);
}

/** Return where the valleys of `n` batches have their bottoms; that of all examples, batch 0, at 0. */
export function bottoms(n, batch) {
  const noise = gaussianNoise(n, 2, 0);
  const share = batch ? 1 / Math.sqrt(batch) : 0;
  return Array.from({ length: n }, (_, k) => SPREAD.map((s, i) => s * share * noise[2 * k + i]));
}

/** A rule makes a step of learning rate 1 from the gradient `g` at step `k`, and its memory. */
export const rules = {
  "gradient descent": (g) => g,
  Adam: (g, memory, k) => {
    memory.m = memory.m.map((m, i) => 0.9 * m + 0.1 * g[i]);
    memory.v = memory.v.map((v, i) => 0.999 * v + 0.001 * g[i] ** 2);
    const root = (v) => Math.sqrt(v / (1 - 0.999 ** k)) + 1e-7;
    return memory.m.map((m, i) => m / (1 - 0.9 ** k) / root(memory.v[i]));
  },
};

/** Return the weights at the start and after each step, one for every batch. */
export function walk(rule, start, rate, batches, falling) {
  const [path, memory] = [[start], { m: [0, 0], v: [0, 0] }];
  batches.forEach((bottom, k) => {
    const g = path[k].map((value, i) => 2 * CURVATURE[i] * (value - bottom[i]));
    const step = rule(g, memory, k + 1);
    const rateNow = falling ? rate * (1 - k / batches.length) : rate;
    path.push(path[k].map((value, i) => value - rateNow * step[i]));
  });
  return path;
}

/** Return the running average of a path, which remembers mostly its last tenth. */
export function averaged(path) {
  let mean = path[0];
  return path.map((w, k) => {
    const kept = k && (1 - 1 / k) ** 10;
    return (mean = mean.map((value, i) => kept * value + (1 - kept) * w[i]));
  });
}
