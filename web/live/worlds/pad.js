// Chapter 10, a pad: nine cars by the network that jumps, drawn anew while the hand moves between
// four noises. The corners of the pad are four seeds; a place on it is their spherical mix.

import { keepPainted, onDrag } from "../canvas.js";
import { keepForOffline } from "../keep.js";
import { openNetwork, showProgress, sizeOfFirstLoad } from "../network.js";
import { drawGrid, fit } from "../pixels.js";
import { JUMPS } from "../runtime.js";

const CARS = 9;
const REST = 400; // milliseconds without a move, after which the picture is drawn in more steps
const MARKUP = `
<div class="live-picture"><div class="live-stage"><canvas role="img" aria-label="No cars yet"></canvas></div></div>
<div class="live-controls">
  <div><canvas role="img"></canvas></div>
  <label class="live-wide">To the right <input type="range" name="right" min="0" max="100" value="50"></label>
  <label class="live-wide">Down <input type="range" name="down" min="0" max="100" value="50"></label>
  <div class="live-row">
    <label>Seed of the first corner
      <input type="number" name="seed" min="0" max="9999" value="1"></label>
    <label>Steps at rest
      <select name="steps"><option>1</option><option>2</option><option selected>4</option><option>16</option></select></label>
  </div>
  <button class="live-main" name="start">Begin</button>
  <progress hidden aria-label="Loading the network"></progress>
  <p class="live-status" role="status"></p>
  <p class="live-error" role="alert"></p>
</div>`;

export function mount(root) {
  root.innerHTML = MARKUP;
  const [cars, pad] = root.querySelectorAll("canvas");
  const [right, down, seed, steps, start] = ["right", "down", "seed", "steps", "start"].map((name) =>
    root.querySelector(`[name=${name}]`),
  );
  const [status, problem, progress] = ["live-status", "live-error", "progress"].map((name) =>
    root.querySelector(name === "progress" ? name : `.${name}`),
  );
  const ask = openNetwork(root, receive, JUMPS);
  let resting;
  let asked; // the request at work
  let waiting = false; // whether something moved since it was sent

  const repaint = keepPainted(pad, 0.6, paint);
  new ResizeObserver(() => fit(cars)).observe(cars.parentElement);
  onDrag(pad, (x, y) => {
    [right.value, down.value] = [100 * x, 100 * y].map(Math.round);
    move();
  });
  for (const input of [right, down, seed, steps]) input.addEventListener("input", move);
  start.addEventListener("click", () => draw(Number(steps.value)));
  sizeOfFirstLoad(JUMPS).then((sentence) => (status.textContent ||= `Press Begin. ${sentence}`));

  /** Draw quickly while the hand moves, and in more steps when it rests. */
  function move() {
    repaint();
    if (!ask.started() || !seed.reportValidity()) return;
    clearTimeout(resting);
    resting = setTimeout(() => draw(Number(steps.value)), REST);
    if (asked) waiting = true;
    else draw(Math.min(2, Number(steps.value)));
  }

  function draw(count) {
    const corners = [0, 1, 2, 3].map((corner) => Number(seed.value) + corner);
    const place = { right: right.value / 100, down: down.value / 100 };
    asked = { corners, ...place, first: 0, cars: CARS, steps: count, guidance: 1 };
    waiting = false;
    ask(asked);
  }

  function receive(message) {
    if (message.type === "progress") return showProgress(progress, message);
    progress.hidden = true;
    if (message.type === "error") {
      asked = undefined;
      problem.textContent = message.text;
    } else if (message.type === "state" && message.step === asked.steps) {
      drawGrid(cars, message.pixels, Math.sqrt(message.pixels.length / 4 / CARS));
    } else if (message.type === "done") {
      finish(message);
    }
  }

  function finish({ milliseconds, runtimeFiles }) {
    const count = `${asked.steps} step${asked.steps === 1 ? "" : "s"}`;
    const place = `${right.value} % to the right, ${down.value} % down`;
    status.textContent = `Nine cars, ${place}, in ${count}: ${Math.round(milliseconds)} ms.`;
    cars.setAttribute("aria-label", `Nine cars, ${place} on the pad, in ${count}`);
    problem.textContent = "";
    start.hidden = true;
    root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
    keepForOffline(runtimeFiles);
    asked = undefined;
    if (waiting) draw(Math.min(2, Number(steps.value)));
  }

  function paint(context, width, height, { line, text, muted, first }) {
    context.strokeStyle = line;
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    context.fillStyle = muted;
    for (const corner of [0, 1, 2, 3]) {
      const [x, y] = [corner % 2, corner > 1].map(Number);
      context.textAlign = x ? "right" : "left";
      context.fillText(`seed ${Number(seed.value) + corner}`, x ? width - 8 : 8, y ? height - 8 : 18);
    }
    const [x, y] = [(right.value / 100) * width, (down.value / 100) * height];
    context.strokeStyle = text;
    context.fillStyle = first;
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    pad.setAttribute("aria-label", `A pad between four seeds: ${right.value} % to the right, ${down.value} % down`);
  }
}
