// Chapter 9: the rules of diffusion_core/samplers.py, on a clean guess that is exact.

import { gaussianNoise } from "../noise.js";
import { cleanGuess, evenSteps, mean, meanMiss, mix, renoise, toCurve, walk } from "./mixture.js";
import { drawCurve, keepPlane, numbers, startInputs } from "./plane.js";

const [STARTS, FINE_STEPS] = [24, 128];
const LIMITS = [2.4, 1.9];
const NAMES = { euler: "Euler", heun: "Heun", dpm_solver: "DPM-Solver++", ddim: "DDIM, η = 0" };
Object.assign(NAMES, { ancestral: "Ancestral", churn: "Churn" });
const [RANDOM, TWICE] = [["ancestral", "churn"], ["heun", "churn"]];

export const guess = (x, a) => cleanGuess(x, a, 0.1);

const noiseToSignal = (a) => a / (1 - a);
const noiseLevel = (ratio) => (ratio < Infinity ? ratio / (1 + ratio) : 1);
const logRatio = (a) => Math.log((1 - a) / a);

/** The rules, as in Python: `rule(steps, x, fresh)` yields the state after each of `evenSteps`. */
export const SAMPLERS = {
  *euler(steps, x) {
    for (const [a, s] of steps) yield (x = walk(x, guess(x, a), a, s));
  },
  *heun(steps, x) {
    for (const [a, s] of steps) yield (x = heunStep(x, a, s));
  },
  *dpm_solver(steps, x) {
    let [last, lastLength] = [x, Infinity];
    for (const [a, s] of steps) {
      const [clean, length] = [guess(x, a), logRatio(s) - logRatio(a)];
      const further = Number.isFinite(length) ? length / lastLength / 2 : 0;
      yield (x = walk(x, mix(1 + further, clean, -further, last), a, s));
      [last, lastLength] = [clean, length];
    }
  },
  *ddim(steps, x, fresh, eta = 0) {
    for (const [a, s, t] of steps) {
      const kept = noiseToSignal(s) / noiseToSignal(a);
      const low = noiseLevel(noiseToSignal(s) * Math.sqrt(1 - eta ** 2 * (1 - kept ** 2)));
      yield (x = renoise(walk(x, guess(x, a), a, low), low, s, fresh(t)));
    }
  },
  *ancestral(steps, x, fresh) {
    yield* SAMPLERS.ddim(steps, x, fresh, 1);
  },
  *churn(steps, x, fresh, amount = 30) {
    const gamma = Math.min(amount / steps.length, Math.SQRT2 - 1);
    for (const [a, s, t] of steps) {
      const high = noiseLevel((1 + gamma) * noiseToSignal(a));
      yield (x = heunStep(renoise(x, a, high, fresh(t)), high, s));
    }
  },
};

function heunStep(x, a, s) {
  const ahead = walk(x, guess(x, a), a, s);
  if (s === 0) return ahead;
  // The mean of two directions (D - x) / a; the first of them led from x to `ahead`.
  const there = mix(1 / s, guess(ahead, s), -1 / s, ahead);
  return mix(0.5, mix(1, x, 1, ahead), (a - s) / 2, there);
}

/** Return how many steps a rule takes with at most so many calls: the last step asks once. */
export const stepsFor = (name, calls) => (TWICE.includes(name) ? Math.ceil(calls / 2) : calls);

/**
 * Return the states of pictures `first` to `first + n - 1` of a seed, or of one that starts at `x`.
 * Their noise is that of Python's `gaussian_noise(n, (2,), seed, first, step=t)`.
 */
export function draw(name, steps, seed, n, first = 0, x) {
  // A picture has a row of numbers: two for its start, and two for each step.
  const row = 2 * (steps + 1);
  const noise = gaussianNoise(n, row, seed, first);
  const at = (i, t) => noise[(i >> 1) * row + 2 * t + (i % 2)];
  const fresh = (t) => Float64Array.from({ length: 2 * n }, (_, i) => at(i, t));
  x ??= fresh(0);
  return [x, ...SAMPLERS[name](evenSteps(steps), x, fresh)];
}

/** Return the states of a solution so fine that its ends stand for the exact ones. */
export const fine = (seed, n = STARTS, ...start) => draw("heun", FINE_STEPS, seed, n, ...start);

const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <div class="live-row">
    <label>Rule <select name="rule">
      ${Object.keys(NAMES).map((name) => `<option value="${name}">${NAMES[name]}</option>`).join("")}
    </select></label>
    <button type="button">Other noises</button>
  </div>
  <label class="live-wide">Calls, at most: <span class="live-where"></span>
    <input type="range" name="calls" min="1" max="64" value="4"></label>
  ${startInputs(LIMITS, [1.9, -1.2])}
  <p class="live-status" aria-live="polite"></p>
</div>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const find = (selector) => root.querySelector(selector);
  const [canvas, rule, calls] = ["canvas", "[name=rule]", "[name=calls]"].map(find);
  const [where, status] = [".live-where", ".live-status"].map(find);
  let [seed, exact] = [0, fine(0)];
  let states, mine, mineExact;
  find("button").addEventListener("click", () => (exact = fine(++seed)));
  keepPlane(root, LIMITS, paint, show);

  function show(start) {
    const steps = stepsFor(rule.value, Number(calls.value));
    states = draw(rule.value, steps, seed, STARTS);
    mine = draw(rule.value, steps, seed, 1, STARTS, start);
    mineExact = fine(seed, 1, STARTS, start);
    where.textContent = calls.value;
    status.textContent = sentence(rule.value, steps);
    canvas.setAttribute("aria-label", `Ways from noise to pictures. ${status.textContent}`);
  }

  function sentence(name, steps) {
    const [calls, cost] = TWICE.includes(name)
      ? [2 * steps - 1, "two a step and one in the last"]
      : [steps, "one a step"];
    const miss = (found, right) => meanMiss(found.at(-1), right.at(-1)).toFixed(3);
    const away = (found) => mean(toCurve(found.at(-1)).distances).toFixed(3);
    const error = RANDOM.includes(name)
      ? "Fresh noise leads elsewhere: mean distance from the exact ends"
      : "Mean error of the ends";
    const own = `of yours, from ${numbers(mine[0])}, ${miss(mine, mineExact)}`;
    const curve = `Mean distance from the curve ${away(states)}, of the exact ends ${away(exact)}`;
    return `${NAMES[name]}. Calls: ${calls}, ${cost}. ${error} ${miss(states, exact)}; ${own}. ${curve}.`;
  }

  function paint(pen) {
    const { text, muted, first } = pen.colours;
    drawCurve(pen);
    // Ways with fresh noise would be a tangle: of the crowd only their ends are shown.
    for (let k = 0; k < STARTS && !RANDOM.includes(rule.value); k++) {
      pen.way(exact, k, muted, 0.75);
      pen.way(states, k, first, 1);
      pen.way([states.at(-1), exact.at(-1)], k, text, 1);
      for (const x of states) pen.dots(x.subarray(2 * k, 2 * k + 2), first, 1.5);
    }
    pen.dots(states.at(-1), first, 2.5);
    pen.crosses(exact.at(-1), text, 3);
    pen.way(mineExact, 0, text, 1.5);
    pen.way(mine, 0, first, 2);
    for (const x of mine) pen.dots(x, first, 3);
    pen.dots(mine.at(-1), first, 5);
    pen.crosses(mineExact.at(-1), text, 6);
  }
}
