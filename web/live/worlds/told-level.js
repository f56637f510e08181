// Chapter 4, told level and step length: what the network is told, and how far we then go.

import { recordedCars } from "../cars.js";
import { keepForOffline } from "../keep.js";
import { openNetwork, showProgress, sizeOfFirstLoad } from "../network.js";
import { gaussianNoise } from "../noise.js";
import { drawGrid, fit, toPixels } from "../pixels.js";

const SIDE = 32;

/** Return the noisy picture at noise level `a`, and its true direction: clean less noise. */
export function question(clean, noise, a) {
  const noisy = clean.map((value, i) => (1 - a) * value + a * noise[i]);
  return { noisy, truth: clean.map((value, i) => value - noise[i]) };
}

/** Return where a step leads: `x + length · d`. */
export function follow(noisy, direction, length) {
  return noisy.map((value, i) => value + length * direction[i]);
}

/** Return the mean absolute error. */
export function meanError(answer, truth) {
  return answer.reduce((sum, value, i) => sum + Math.abs(value - truth[i]), 0) / answer.length;
}

const NAMES = {
  noisy: "what the network sees",
  direction: "its direction, halved",
  next: "after the step",
  guess: "clean guess",
  clean: "the true car",
};

const MARKUP = `
<div class="world-picture world-row">
  ${Object.keys(NAMES).map((name) => `<figure data-of="${name}"><canvas role="img"></canvas>
    <figcaption></figcaption></figure>`).join("")}
</div>
<div class="live-controls">
  <div class="live-row">
    <label>Told level <span class="live-where"></span>
      <input type="range" name="told" min="1" max="16" value="8"></label>
    <label>Step length <span class="live-where"></span>
      <input type="range" name="length" min="0" value="1"></label>
  </div>
  <div class="live-row">
    <label>True level <select name="level">
      ${[12, 8, 4].map((n) => `<option value="${n}">${n / 16}</option>`).join("")}
    </select></label>
    <label>Picture <select name="picture">
      ${[1, 2, 3, 4, 5, 6].map((n) => `<option value="${n - 1}">drawn car ${n}</option>`).join("")}
    </select></label>
    <button type="button">Ask the network</button>
  </div>
  <progress hidden aria-label="Loading the network"></progress>
  <p class="live-status" role="status"></p>
  <p class="live-error" role="alert"></p>
</div>`;

export async function mount(root) {
  root.innerHTML = MARKUP;
  const [told, length, level, picture] = root.querySelectorAll("input, select");
  const names = ["button", "progress", ".live-status", ".live-error"];
  const [button, progress, status, problem] = names.map((name) => root.querySelector(name));
  const ask = openNetwork(root, receive);
  // Not of seed 0: the cars were drawn from that one, and are still a little like it.
  const noise = gaussianNoise(1, SIDE * SIDE * 3, 1);
  let direction; // the network's, for the question that stands; undefined while it is awaited

  const fitting = new ResizeObserver((figures) => figures.forEach(({ target }) => fit(target.firstChild)));
  for (const figure of root.querySelectorAll("figure")) fitting.observe(figure);
  level.value = 8;
  const cars = await recordedCars().catch(() => {
    problem.textContent = "The drawn cars could not be loaded. Are you online? Then load the page again.";
  });
  if (!cars) return;
  told.addEventListener("input", askNetwork);
  length.addEventListener("input", () => (direction ? show() : askNetwork()));
  picture.addEventListener("change", changeQuestion);
  level.addEventListener("change", changeQuestion);
  button.addEventListener("click", askNetwork);
  for (const name of ["direction", "next", "guess"]) paint(name, new Float32Array(noise.length), "");
  changeQuestion();
  const size = await sizeOfFirstLoad();
  const invitation = "Press the button, or move a slider: the network answers in your browser.";
  if (!ask.started()) status.textContent = `${invitation} ${size}`;

  /** The new question is told the truth at first; it is asked once the network is there. */
  function changeQuestion() {
    told.value = level.value;
    length.max = level.value; // the step that long leads to the clean guess
    direction = undefined;
    show();
    if (ask.started()) askNetwork();
  }

  function askNetwork() {
    direction = undefined;
    problem.textContent = "";
    show();
    const now = told.value / 16;
    // A step of length 1, whatever is told: the answer less the question is then the direction.
    ask({ image: asked().noisy, level: now, nextLevel: now - 1 });
  }

  function receive(message) {
    if (message.type === "progress") return showProgress(progress, message);
    progress.hidden = true;
    if (message.type === "error") return (problem.textContent = message.text);
    direction = follow(message.next, asked().noisy, -1);
    button.hidden = true;
    show();
    keepForOffline(message.runtimeFiles);
  }

  function asked() {
    const clean = cars[picture.value];
    return { clean, ...question(clean, noise, level.value / 16) };
  }

  /** Show the sliders and the question, and the answer once it is there. */
  function show() {
    for (const slider of [told, length]) {
      slider.previousElementSibling.textContent = slider.value / 16;
      slider.setAttribute("aria-valuetext", slider.value / 16);
    }
    const { clean, noisy, truth } = asked();
    const [a, far] = [level.value / 16, length.value / 16];
    paint("noisy", noisy, `, level ${a}`);
    paint("clean", clean, "");
    if (!direction) return;
    const [next, guess] = [far, a].map((way) => follow(noisy, direction, way));
    const errors = [[direction, truth], [next, follow(noisy, truth, far)], [guess, clean]];
    const [ofDirection, ofNext, ofGuess] = errors.map((pair) => meanError(...pair).toFixed(3));
    paint("direction", direction.map((value) => value / 2), `: error ${ofDirection}`);
    paint("next", next, `: error ${ofNext}`);
    paint("guess", guess, `: error ${ofGuess}`);
    status.textContent = `Told ${told.value / 16} where ${a} is true, the direction errs by ${ofDirection}. ` +
      `The step of ${far} carries ${far} of that error into the picture (${ofNext}), ` +
      `the clean guess ${a} of it (${ofGuess}).`;
  }

  function paint(name, numbers, words) {
    const figure = root.querySelector(`[data-of=${name}]`);
    drawGrid(figure.firstChild, toPixels(numbers), SIDE);
    figure.lastElementChild.textContent = NAMES[name] + words;
    figure.firstChild.setAttribute("aria-label", NAMES[name] + words);
  }
}
