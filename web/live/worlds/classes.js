// Chapter 11: told what to draw, in a world where the answer for every class is a formula.

import { gaussianNoise } from "../noise.js";
import { moments } from "../statistics.js";
import { cleanGuess, evenSteps, mean, mix, toCurve, walk } from "./mixture.js";
import { keepPlane, numbers, startInputs } from "./plane.js";

const DOTS = 300;
const STEPS = 16;
const LIMITS = [1.75, 1.4];

/** Two clouds make a class: their middles; all are Gaussian and equally wide. */
const WIDTH = 0.12;
const CLASSES = [
  Float64Array.of(-0.3, 0.3, -0.9, -0.3),
  Float64Array.of(-0.3, 0, 0.2, -0.8),
  Float64Array.of(-0.3, 0.6, 0.9, 0.7),
];
const ANY = Float64Array.of(...CLASSES.flatMap((middles) => [...middles]));
const NAMES = ["first", "second", "third"];
const MARKS = ["●", "▲", "■"];

/**
 * Return the states of a drawing of class `k` from the points `x`, the start first: with guidance
 * `w` at levels above `low` and up to `high`, and elsewhere 1, the class's own answer.
 */
export function drawClass(x, k, w, low, high) {
  const states = [x];
  for (const [a, s] of evenSteps(STEPS)) {
    const [told, free] = [CLASSES[k], ANY].map((middles) => cleanGuess(x, a, WIDTH, middles));
    const strength = a > low && a <= high ? w : 1;
    states.push((x = walk(x, mix(strength, told, 1 - strength, free), a, s)));
  }
  return states;
}

/**
 * Return how many points lie nearest to class `k`, how far they spread as a share of its own
 * spread, and their mean distance from the middle of its nearer cloud.
 */
export function judge(x, k) {
  const own = classesOf(x).filter((nearest) => nearest === k).length;
  const spread = deviation(x) / Math.hypot(deviation(CLASSES[k]), WIDTH, WIDTH);
  return { own, spread, distance: mean(toCurve(x, CLASSES[k]).distances) };
}

/** Return the class of the cloud that is nearest to each point. */
const classesOf = (x) => toCurve(x, ANY).nearest.map((cloud) => cloud >> 1);

/** Return the root mean square distance of points from their middle. */
const deviation = (x) =>
  Math.hypot(...[0, 1].map((pixel) => moments(x.filter((_, i) => i % 2 === pixel))[1]));

/** Return clean pictures of a class, as many from each of its clouds. */
const cleanPictures = (k) =>
  gaussianNoise(90, 2, 1, 90 * k).map((value, i) => WIDTH * value + CLASSES[k][i % 4]);

const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <div class="live-row">
    <label>Class <select name="class">
      ${NAMES.map((name, k) => `<option value="${k}">${MARKS[k]} ${name}</option>`).join("")}
    </select></label>
    <label>Guidance w = <span class="live-where"></span>
      <input type="range" name="w" min="0" max="4" step="0.1" value="1"></label>
  </div>
  <div class="live-row">
    <label>Guided above level <span class="live-where"></span>
      <input type="range" name="low" min="0" max="1" step="0.05" value="0"></label>
    <label>and up to level <span class="live-where"></span>
      <input type="range" name="high" min="0" max="1" step="0.05" value="1"></label>
  </div>
  ${startInputs(LIMITS, [1.5, -1])}
  <p class="live-status" role="status"></p>
</div>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const [canvas, status] = ["canvas", ".live-status"].map((found) => root.querySelector(found));
  const sliders = ["w", "low", "high"].map((name) => root.querySelector(`[name=${name}]`));
  const choice = root.querySelector("[name=class]");
  const starts = Float64Array.from(gaussianNoise(DOTS, 2, 0));
  const clouds = CLASSES.map((_, k) => cleanPictures(k));
  let shown, dots, mine;
  keepPlane(root, LIMITS, paint, show);

  function show(start) {
    const settings = [choice, ...sliders].map(({ value }) => Number(value));
    // The crowd does not move with the reader's own start.
    if (`${settings}` !== shown) dots = drawClass(starts, ...settings).at(-1);
    shown = `${settings}`;
    mine = drawClass(start, ...settings);
    sliders.forEach((slider, i) => {
      const number = settings[i + 1].toFixed(i === 0 ? 1 : 2);
      slider.parentElement.querySelector(".live-where").textContent = number;
    });
    status.textContent = sentence(...settings);
    canvas.setAttribute("aria-label", `Three classes of two clouds. ${status.textContent}`);
  }

  function sentence(k, w, low, high) {
    const where = low < high ? `from ${high.toFixed(2)} down to ${low.toFixed(2)}` : "nowhere";
    const { own, spread, distance } = judge(dots, k);
    const crowd = `Of ${DOTS} dots, ${own} lie nearest to the ${NAMES[k]} class`;
    const shape = `their spread is ${(100 * spread).toFixed(0)}% of its own`;
    const away = `they lie ${distance.toFixed(3)} on average from the middle of its nearer cloud`;
    const [end, nearest] = [mine.at(-1), NAMES[classesOf(mine.at(-1))[0]]];
    const yours = `Yours, from ${numbers(mine[0])}, ends at ${numbers(end)}, nearest to the`;
    return `w = ${w.toFixed(1)} ${where}. ${crowd}; ${shape}; ${away}. ${yours} ${nearest}.`;
  }

  function paint(pen) {
    const { text, background, first, second, third } = pen.colours;
    [first, second, third].forEach((colour, k) => pen.marks(clouds[k], k, colour, 3.5));
    pen.dots(dots, text, 1.5);
    pen.way(mine, 0, text, 1.5);
    for (const x of mine) pen.dots(x, text, 2);
    pen.dots(mine.at(-1), background, 6.5);
    pen.dots(mine.at(-1), text, 5);
  }
}
