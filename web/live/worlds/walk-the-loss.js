// Walk the loss: two weights, the valley of chapter 5, and two walkers in it, gradient descent and
// Adam, with their learning rates under the hand.

import { keepPainted, onDrag } from "../canvas.js";
import { stroke, write } from "../draw.js";
import { CURVATURE, averaged, bottoms, loss, rules, walk } from "../descent.js";

const STEPS = 100;
const [WIDE, HIGH] = [5, 2]; // the map shows weights up to these
const [HIGHEST, POWERS] = [3, 8]; // the chart shows a loss of 10³ to 10⁻⁵
const [LEFT, LINE] = [56, 24]; // room for numbers and words

const range = (words, name, min, max, step, value) => `<label class="live-wide">${words}
  <span class="live-where"></span>
  <input type="range" name="${name}" min="${min}" max="${max}" step="${step}" value="${value}"></label>`;
const choice = (words, name, options) => `<label>${words} <select name="${name}">
  ${Object.entries(options).map(([value, text]) => `<option value="${value}">${text}</option>`).join("")}
  </select></label>`;
const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<form class="live-controls">
  <div class="live-row">${range("Rate, gradient descent", "descent", -4, -2, 0.01, -2.32)}
    ${range("Rate, Adam", "adam", -3, 0.5, 0.01, -0.52)}</div>
  ${range("Step", "step", 0, STEPS, 1, 40)}
  <div class="live-row">
    ${choice("Batch", "batch", { 0: "all examples", 64: "64", 16: "16", 4: "4", 1: "1" })}
    ${choice("Both rates", "falling", { "": "steady", yes: "fall to zero" })}</div>
  <div class="live-row">
    ${choice("Show", "average", { "": "the weights", yes: "their average" })}
    <button type="button" name="play">Play</button></div>
  <div class="live-row">${range("Start w₁", "w1", -5, 5, 0.05, -4)}
    ${range("w₂", "w2", -2, 2, 0.05, 1.5)}</div>
  <p class="live-status" role="status"></p>
</form>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { descent, adam, step, play, batch, falling, average, w1, w2 } = form.elements;
  const [canvas, status] = root.querySelectorAll("canvas, .live-status");
  const [mapShape, shape] = root.clientWidth < 500 ? [0.6, 1.1] : [0.4, 0.65];
  const repaint = keepPainted(canvas, shape, paint);
  let walkers, timer;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => look());
  play.addEventListener("click", () => {
    step.value = matchMedia("(prefers-reduced-motion: reduce)").matches ? STEPS - 1 : 0;
    goOn();
  });
  onDrag(canvas, (right, down) => {
    w1.value = WIDE * (2 * right - 1);
    w2.value = HIGH * (1 - (2 * down * shape) / mapShape);
    look();
  });
  look();

  function goOn() {
    step.value = Number(step.value) + 1;
    look(step.value !== step.max);
    if (step.value !== step.max) timer = setTimeout(goOn, 40);
  }

  function look(playing = false) {
    clearTimeout(timer);
    status.ariaLive = playing ? "off" : "polite"; // the sentence is read out once it stands still
    for (const control of [descent, adam, step, w1, w2]) {
      // Rates lie many times apart, so their sliders hold powers of ten.
      const isRate = control === descent || control === adam;
      const said = isRate ? (10 ** control.value).toPrecision(2) : control.value;
      control.previousElementSibling.textContent = said;
      control.setAttribute("aria-valuetext", said);
    }
    const batches = bottoms(STEPS, Number(batch.value));
    walkers = Object.entries(rules).map(([name, rule], i) => {
      const rate = 10 ** [descent, adam][i].value;
      const path = walk(rule, [Number(w1.value), Number(w2.value)], rate, batches, falling.value);
      const upToNow = (points) => points.slice(0, Number(step.value) + 1);
      return { name, path: upToNow(path), shown: upToNow(average.value ? averaged(path) : path) };
    });
    const results = walkers.map(({ name, shown }) => {
      const far = Math.hypot(...shown.at(-1)).toPrecision(3);
      return `${name}: loss ${loss(shown.at(-1)).toPrecision(3)}, ${far} from the minimum`;
    });
    status.textContent = `After ${step.value} of ${STEPS} steps, ${results.join("; ")}.`;
    canvas.setAttribute("aria-label", `A valley with two paths, and their loss. ${status.textContent}`);
    repaint();
  }

  function paint(context, width, height, { line, text, first, second }) {
    const within = (value, high) => Math.min(high, Math.max(0, value));
    const [map, top] = [width * mapShape, width * mapShape + LINE + 16];
    const unit = (height - top - LINE) / POWERS;
    // A walker that leaves the map is shown at its edge.
    const onMap = ([a, b]) => [
      within((a / WIDE + 1) * (width / 2), width),
      within((1 - b / HIGH) * (map / 2), map),
    ];
    const onChart = (w, k) => {
      const down = within(HIGHEST - Math.log10(loss(w)), POWERS);
      return [LEFT + (k / STEPS) * (width - LEFT - 2), top + unit * down];
    };
    const draw = (...line) => stroke(context, ...line);
    const say = (words, x, y, align = "left", colour = text) => write(context, words, [x, y], align, colour);
    draw([[-WIDE, 0], [WIDE, 0]].map(onMap), line);
    draw([[0, -HIGH], [0, HIGH]].map(onMap), line);
    const turn = Array.from({ length: 65 }, (_, i) => (i * Math.PI) / 32);
    for (const h of [1, 4, 20, 80, 200, 400, 700]) {
      const [a, b] = CURVATURE.map((curvature) => Math.sqrt(h / curvature));
      draw(turn.map((angle) => onMap([a * Math.cos(angle), b * Math.sin(angle)])), line);
    }
    for (let power = 0; power <= POWERS; power += 2) {
      draw([[LEFT, top + unit * power], [width, top + unit * power]], line);
      say(10 ** (HIGHEST - power), 0, top + unit * power + 4);
    }
    say("w₁", width - 4, map / 2 - 6, "right");
    say("w₂", width / 2 + 6, 14);
    say("loss", 0, map + LINE);
    say("step 0", LEFT, height - 4);
    say(STEPS, width - 2, height - 4, "right");
    walkers.forEach(({ name, path, shown }, i) => {
      const colour = [first, second][i];
      draw(path.map(onMap), colour, 0.5);
      draw(shown.map(onMap), colour, 2);
      draw(shown.map(onChart), colour, 2);
      for (const [x, y] of shown.map(onMap)) say("•", x, y + 4, "center", colour);
      say("■", LEFT + 140 * i, map + LINE, "left", colour);
      say(name, LEFT + 140 * i + 15, map + LINE);
    });
  }
}
