// Chapters 2 and 3, one noise slider: a picture, its histogram, and its place on three schedules.

import { keepPainted, onDrag } from "../canvas.js";
import { legend, signed, stroke, write } from "../draw.js";
import { gaussianNoise } from "../noise.js";
import { drawNumbers, readNumbers } from "../pixels.js";
import { place, SCHEDULES } from "../schedules.js";
import { blurredHistogram, histogram, moments } from "../statistics.js";

const SIDE = 32;
const EDGES = Array.from({ length: 72 }, (_, i) => (i - 35.5) / 10);
const TALLEST = 0.2;
const SHAPES = [0.62, 0.62, 0.42];
const MARGIN = 62; // beside the schedules
const FOOT = 18; // under the schedules
const MARKUP = `
<div class="world-half"><canvas role="img"></canvas></div>
<div class="world-half"><canvas role="img"></canvas></div>
<div class="world-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <div class="live-row">
    <label>Noise level <span class="live-where"></span>
      <input type="range" min="0" max="1" step="0.005" value="0.2"></label>
    <label>Picture <select>
      ${[1, 2, 3, 4, 5, 6].map((car) => `<option>drawn car ${car}</option>`).join("")}
    </select></label>
  </div>
  <p class="live-status" role="status"></p>
</div>`;

export async function mount(root) {
  root.innerHTML = MARKUP;
  const canvases = root.querySelectorAll("canvas");
  const [level, car, status] = root.querySelectorAll("input, select, p");
  const cars = new Image();
  cars.src = new URL("../recorded/cars.png", import.meta.url);
  const trouble = () => "The drawn cars could not be loaded. Are you online?";
  status.textContent = await cars.decode().then(() => "", trouble);
  if (status.textContent) return;
  // Not of seed 0: the cars were drawn from that one, and are still a little like it.
  const noise = gaussianNoise(1, SIDE * SIDE * 3, 1);
  let seen;
  const paints = [paintPictures, paintHistogram, paintSchedules];
  const repaints = paints.map((paint, i) =>
    keepPainted(canvases[i], SHAPES[i], (...place) => paint(...place, seen)));
  root.addEventListener("input", show);
  let row; // of the schedule that is dragged
  canvases[2].addEventListener("pointerdown", ({ offsetY }) => {
    row = Math.min(2, Math.floor((3 * offsetY) / (canvases[2].clientHeight - FOOT)));
  });
  onDrag(canvases[2], (x) => {
    const width = canvases[2].clientWidth;
    const t = Math.min(1, Math.max(0, (x * width - MARGIN) / (width - 2 * MARGIN)));
    const [signal, noise] = Object.values(SCHEDULES)[row](t);
    level.value = noise / (signal + noise);
    show();
  });
  show();

  function show() {
    const a = Number(level.value);
    const clean = readNumbers(cars, SIDE, [SIDE * car.selectedIndex, 0, SIDE, SIDE]);
    const noisy = clean.map((value, i) => (1 - a) * value + a * noise[i]);
    const places = Object.keys(SCHEDULES).map((name) => {
      const t = place(name, a);
      return [name, t, t === null ? "never" : `t = ${(16 * t).toFixed(1)}`];
    });
    const steps = places.map(([name, , step]) => `${name} ${step}`).join(", ");
    seen = { a, clean, noisy, places };
    level.previousElementSibling.textContent = a.toFixed(3);
    const ratio = a ? ((1 / a - 1) ** 2).toPrecision(3) : "without end";
    const [mean, deviation] = moments(clean);
    const rule = inWords((1 - a) * mean, Math.hypot((1 - a) * deviation, a));
    canvases[0].setAttribute("aria-label", `A car with noise of level ${a}, at two contrasts`);
    canvases[1].setAttribute("aria-label", `Histogram of its values: ${rule}`);
    canvases[2].setAttribute("aria-label", `Shares of signal; as much as here at ${steps}`);
    status.textContent = `Signal-to-noise ratio ${ratio}: ${steps}. ` +
      `Values by the rule: ${rule}; counted: ${inWords(...moments(noisy))}.`;
    for (const repaint of repaints) repaint();
  }
}

function inWords(mean, deviation) {
  return `mean ${signed(mean, 2)}, deviation ${deviation.toFixed(2)}`;
}

/** Draw the noisy picture as ours, and as schedules have it whose squares add up to one. */
function paintPictures(context, width, height, colours, { a, noisy }) {
  const side = Math.min((width - 10) / 2, height - 40);
  const totals = [["linear", 1], ["cosine, DDPM", Math.hypot(1 - a, a)]];
  for (const [i, [name, total]] of totals.entries()) {
    const x = i * (side + 10);
    drawNumbers(context, noisy.map((value) => value / total), x, 0, side);
    const [signal, sigma] = [1 - a, a].map((share) => (share / total).toFixed(2));
    write(context, name, [x, side + 16], "left", colours.text);
    write(context, `${signal} car + ${sigma} noise`, [x, side + 33], "left", colours.text);
  }
}

/** Draw three histograms: of this picture, of the shrunken clean one, and of that one blurred. */
function paintHistogram(context, width, height, colours, { a, clean, noisy }) {
  const left = 40;
  const across = (x) => left + ((x + 3.5) / 7) * (width - left - 4);
  const up = (share) => height - 36 - (Math.min(share, TALLEST) / TALLEST) * (height - 62);
  const label = (words, x, y, align) => write(context, words, [x, y], align, colours.text);
  for (let x = -3; x <= 3; x++) label(x, across(x), height - 20, "center");
  label("value", across(0), height - 4, "center");
  for (const share of [0, 0.1, 0.2]) {
    label(`${100 * share} %`, left - 5, up(share) + 4, "right");
    stroke(context, [[left, up(share)], [width, up(share)]], colours.line);
  }
  const kinds = {
    "this picture": [colours.first, 4],
    shrunk: [colours.second, 1.5],
    "and blurred": [colours.text, 1.5],
  };
  legend(context, kinds, 4, colours.text);
  const shrunk = clean.map((value) => (1 - a) * value);
  const exact = blurredHistogram(clean, 1 - a, a, EDGES);
  [histogram(noisy, EDGES), histogram(shrunk, EDGES), exact].forEach((shares, i) => {
    const corners = shares.flatMap((share, bin) => [[EDGES[bin], share], [EDGES[bin + 1], share]]);
    const points = corners.map(([x, share]) => [across(x), up(share)]);
    stroke(context, points, ...Object.values(kinds)[i]);
  });
}

/** Draw the share of signal over the way from noise to clean, a row for each schedule. */
function paintSchedules(context, width, height, colours, { a, places }) {
  const tall = (height - FOOT) / 3;
  const across = (t) => MARGIN + t * (width - 2 * MARGIN);
  const label = (words, x, y, align) => write(context, words, [x, y], align, colours.text);
  for (const [row, [name, t, step]] of places.entries()) {
    const up = (share) => tall * (row + 1 - 0.86 * share);
    const curve = Array.from({ length: 101 }, (_, i) => {
      const [signal, noise] = SCHEDULES[name](i / 100);
      return [across(i / 100), up(signal / (signal + noise))];
    });
    label(name, 0, up(0.4), "left");
    label(step, across(1) + 6, up(0.4), "left");
    const area = new Path2D();
    for (const point of [[across(0), up(0)], ...curve, [across(1), up(0)]]) area.lineTo(...point);
    context.fillStyle = `${colours.first}55`;
    context.fill(area);
    stroke(context, curve, colours.first, 1.5);
    stroke(context, [[across(0), up(1 - a)], [across(1), up(1 - a)]], colours.text, 1, [3, 3]);
    if (t !== null) stroke(context, [[across(t), up(0)], [across(t), up(1)]], colours.second, 3);
  }
  label("noise", across(0), height - 3, "left");
  label("clean", across(1), height - 3, "right");
}
