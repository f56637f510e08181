// Chapter 2, the bending path: a world of one pixel, as often black (-1) as white (1).

import { keepPainted, onDrag } from "../canvas.js";
import { legend, percent, signed, stroke, write } from "../draw.js";
import { crossing, normalCdf } from "../statistics.js";

/** Return the average clean pixel of all that fit the noisy pixel `x` at noise level `a`. */
export function guess(x, a) {
  return Math.tanh(((1 - a) * x) / a ** 2);
}

/** Return the average of x0 - epsilon: where the pixel goes, and how fast, as the noise falls. */
export function direction(x, a) {
  return (guess(x, a) - x) / a;
}

/** Return the stops of a walk from pure noise in equal steps: `steps + 1` values, `start` first. */
export function walk(start, steps) {
  const stops = [start];
  for (let step = 0; step < steps; step++) {
    stops.push(stops[step] + direction(stops[step], 1 - step / steps) / steps);
  }
  return stops;
}

/**
 * Return where endlessly many steps have come at noise level `a`, above 0: paths do not cross, so
 * as many pixels lie below this one as starts lay below its start.
 */
export function exactPath(start, a) {
  const below = (x) => normalCdf((x - 1 + a) / a) / 2 + normalCdf((x + 1 - a) / a) / 2;
  return crossing((x) => below(x) - normalCdf(start), -9, 9);
}

/**
 * Return the share of all starts, noise plus `shift`, that end above 0.9; below -0.9 for `-shift`.
 * Higher starts end higher, so one start parts those that end white from the others.
 */
export function whiteShare(steps, shift) {
  const above = (start) => walk(start, steps).at(-1) - 0.9;
  return above(9) < 0 ? 0 : normalCdf(shift - crossing(above, -9, 9));
}

const HIGHEST = 2.6;
const MARGIN = { left: 28, right: 50, top: 30, bottom: 40 };
const ARROW = new Path2D("M -6 -0.5 H 3 V -2.5 L 7 0 L 3 2.5 V 0.5 H -6 Z");
// Sixteen starts, each in the middle of an equal share of the bell.
const STARTS = Array.from({ length: 16 }, (_, i) =>
  crossing((start) => normalCdf(start) - (i + 0.5) / 16, -9, 9));

const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <div class="live-row">
    <label>Start <span class="live-where"></span>
      <input type="range" name="start" min="-2.5" max="2.5" step="0.1" value="0.8"></label>
    <label>Steps <span class="live-where"></span>
      <input type="range" name="power" min="0" max="6" value="0"></label>
    <label>Shift of other starts <span class="live-where"></span>
      <input type="range" name="shift" min="-1" max="1" step="0.1" value="0"></label>
  </div>
  <p class="live-status" role="status"></p>
</div>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const [canvas, inputs] = [root.querySelector("canvas"), root.querySelectorAll("input")];
  const [start, power, shift] = inputs;
  const chosen = () => [Number(start.value), 2 ** power.value, Number(shift.value)];
  const repaint = keepPainted(canvas, 0.66, (...place) => paint(...place, ...chosen()));
  root.addEventListener("input", show);
  onDrag(canvas, (_, y) => {
    const room = canvas.clientHeight - MARGIN.top - MARGIN.bottom;
    start.value = HIGHEST * (1 - (2 * (y * canvas.clientHeight - MARGIN.top)) / room);
    show();
  });
  show();

  function show() {
    const [from, steps, added] = chosen();
    [signed(from, 1), String(steps), signed(added, 1)].forEach((words, i) => {
      inputs[i].previousElementSibling.textContent = words;
      inputs[i].setAttribute("aria-valuetext", words);
    });
    const end = walk(from, steps).at(-1);
    const colour = Math.abs(end) < 0.9 ? "grey" : end > 0 ? "white" : "black";
    const way = steps > 1 ? `${steps} steps lead` : "One step leads";
    const path = `${way} from ${signed(from, 1)} to ${signed(end, 2)}: ${colour}.`;
    const [white, black] = [whiteShare(steps, added), whiteShare(steps, -added)];
    const starts = added ? `starts, shifted by ${signed(added, 1)}` : "starts";
    root.querySelector(".live-status").textContent = `${path} Of all ${starts}, ` +
      `${percent(white)} end white (above 0.9) and ${percent(1 - white - black)} grey. ` +
      `On exact paths, ${percent(normalCdf(added))} end white and none grey.`;
    canvas.setAttribute("aria-label", `Paths of one pixel from noise to clean. ${path}`);
    repaint();
  }
}

/** Draw noise levels across, from 1 to 0, and values of the pixel upwards. */
function paint(context, width, height, colours, start, steps, shift) {
  const { left, right, top, bottom } = MARGIN;
  const across = (a) => left + (1 - a) * (width - left - right);
  const up = (x) => top + ((1 - x / HIGHEST) / 2) * (height - top - bottom);
  const levels = (n) => Array.from({ length: n }, (_, i) => 1 - i / n); // without 0
  const stops = (from) => walk(from, steps).map((x, step) => [1 - step / steps, x]);
  const place = ([a, x]) => [across(a), up(x)];
  const line = (places, ...kind) => stroke(context, places.map(place), ...kind);
  const label = (words, x, y, align) => write(context, words, [x, y], align, colours.text);
  const kinds = {
    "in steps": [colours.second, 3],
    exact: [colours.first, 3],
    pairs: [colours.text, 1.5, [5, 3]],
    "other starts": [colours.muted, 0.7],
  };
  for (const [x, word] of [[-2, ""], [-1, "black"], [0, "grey"], [1, "white"], [2, ""]]) {
    label(x, left - 8, up(x) + 4, "right");
    label(word, across(0) + 12, up(x) + 4, "left");
  }
  for (const a of [...levels(4), 0]) label(a, across(a), height - bottom + 16, "center");
  label("noise level", across(0.5), height - 6, "center");
  legend(context, kinds, 4, colours.text);

  const rows = Math.round(height / 70); // above 0, and as many below
  for (const a of levels(Math.round(width / 45))) {
    for (let row = -rows; row <= rows; row++) drawArrow(a, (2.4 * row) / rows);
  }
  for (const other of STARTS) line(stops(other + shift), ...kinds["other starts"]);
  for (const pixel of [-1, 1]) line([[1, start], [0, pixel]], ...kinds.pairs);
  line([...levels(99).map((a) => [a, exactPath(start, a)]), [0, Math.sign(start)]], ...kinds.exact);
  context.fillStyle = colours.second;
  for (const [a, x] of stops(start).slice(0, -1)) {
    line([[a, x], [0, guess(x, a)]], colours.second, 1, [2, 3]); // where this step aims
    context.fillRect(across(a) - 3, up(x) - 3, 6, 6);
  }
  line(stops(start), ...kinds["in steps"]);
  const end = walk(start, steps).at(-1);
  context.fillStyle = `rgb(${Array(3).fill(127.5 * (1 + end))})`;
  context.fillRect(across(0) - 7, up(end) - 7, 14, 14);
  context.strokeRect(across(0) - 7, up(end) - 7, 14, 14);

  function drawArrow(a, x) {
    context.save();
    context.translate(across(a), up(x));
    context.rotate(Math.atan2(up(direction(x, a)) - up(0), across(0) - across(1)));
    context.fillStyle = colours.muted;
    context.fill(ARROW);
    context.restore();
  }
}
