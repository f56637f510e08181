// Forward noise: every `<div data-live-forward>` becomes a box with a slider for the noise level.
//
// The pictures are cars that the shipped network drew, or one of the reader's own, which is read
// and shrunk here and goes nowhere.

import { recordedCars } from "./cars.js";
import { gaussianNoise } from "./noise.js";
import { readPhoto } from "./photo.js";
import { drawGrid, fit, toPixels } from "./pixels.js";

const SIDE = 32;
const CARS = 6;

const MARKUP = `
<div class="live-picture">
  <div class="live-stage"><canvas role="img"></canvas></div>
  <label class="live-wide">Noise level <span class="live-where"></span>
    <input type="range" name="level" min="0" max="100" value="0"></label>
</div>
<form class="live-controls">
  <div class="live-row">
    <label>Picture <select name="picture">
      ${Array.from({ length: CARS }, (_, i) => `<option value="${i}">drawn car ${i + 1}</option>`).join("")}
    </select></label>
    <label>Seed of the noise <input type="number" name="seed" min="0" max="4294967295" value="0"></label>
  </div>
  <label class="live-wide">Or a picture of yours: it stays in this browser
    <input type="file" name="file" accept="image/*"></label>
  <p class="live-status"></p>
  <p class="live-error" role="alert"></p>
</form>`;

for (const root of document.querySelectorAll("[data-live-forward]")) mount(root);

async function mount(root) {
  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { picture, seed, file } = form.elements;
  const [canvas, level, where] = ["canvas", "[name=level]", ".live-where"].map(find);
  const [status, problem] = [".live-status", ".live-error"].map(find);
  let clean;
  let wanted; // what was asked for last

  form.addEventListener("submit", (event) => event.preventDefault());
  level.addEventListener("input", show);
  seed.addEventListener("input", show);
  picture.addEventListener("change", takeCar);
  file.addEventListener("change", takeFile);
  new ResizeObserver(() => fit(canvas)).observe(canvas.parentElement);
  await takeCar();

  function show() {
    if (!clean || !form.reportValidity()) return;
    const a = level.value / 100;
    const noise = gaussianNoise(1, clean.length, Number(seed.value));
    const noisy = clean.map((value, i) => (1 - a) * value + a * noise[i]);
    drawGrid(canvas, toPixels(noisy), SIDE);
    where.textContent = a.toFixed(2);
    const sum = `${(1 - a).toFixed(2)} × picture + ${a.toFixed(2)} × noise`;
    status.textContent = `You see ${sum}.`;
    level.setAttribute("aria-valuetext", sum);
    canvas.setAttribute("aria-label", `A picture of 32 × 32 pixels: ${sum}`);
  }

  async function takeCar() {
    const reading = recordedCars().then(
      (cars) => cars[Number(picture.value)],
      () => Promise.reject(new Error("The drawn cars could not be loaded. A picture of yours still works.")),
    );
    if (await take(reading)) file.value = "";
  }

  async function takeFile() {
    // No car is chosen then, so that each of them can be.
    if (file.files.length && (await take(readPhoto(file.files[0], SIDE)))) picture.selectedIndex = -1;
  }

  /** Show numbers once they are read; returns whether: it may fail, or come after a later wish. */
  async function take(reading) {
    wanted = reading;
    const { numbers, trouble = "" } = await reading.then(
      (numbers) => ({ numbers }),
      ({ message }) => ({ trouble: message }),
    );
    if (reading !== wanted) return false;
    problem.textContent = trouble;
    if (!numbers) return false;
    clean = numbers;
    show();
    return true;
  }

  function find(selector) {
    return root.querySelector(selector);
  }
}
