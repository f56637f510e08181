// Forward noise: every `<div data-live-forward>` becomes a box with a slider for the noise level.
//
// The pictures are cars that the shipped network drew, or one of the reader's own, which is read
// and shrunk here and goes nowhere.

import { gaussianNoise } from "./noise.js";
import { drawGrid, fit, readNumbers, toPixels } from "./pixels.js";

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
  let wanted; // the image that was asked for last

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
    const i = Number(picture.value);
    const url = new URL("recorded/cars.png", import.meta.url);
    const trouble = "The drawn cars could not be loaded. A picture of yours still works.";
    if (await take(url, () => [i * SIDE, 0, SIDE, SIDE], trouble)) file.value = "";
  }

  async function takeFile() {
    if (!file.files.length) return;
    const url = URL.createObjectURL(file.files[0]);
    const largestSquareInTheMiddle = ({ naturalWidth: width, naturalHeight: height }) => {
      const side = Math.min(width, height);
      return [(width - side) / 2, (height - side) / 2, side, side];
    };
    const trouble = "This file is not a picture that the browser can read. Try PNG or JPEG.";
    // No car is chosen then, so that each of them can be.
    if (await take(url, largestSquareInTheMiddle, trouble)) picture.selectedIndex = -1;
    URL.revokeObjectURL(url);
  }

  /**
   * Read the part of an image that `crop` names, as 32 × 32 pixels in [-1, 1], and show it.
   * Returns whether it was shown: it may be unreadable, which `trouble` says, or come too late.
   */
  async function take(url, crop, trouble) {
    const image = new Image();
    wanted = image;
    image.src = url;
    const readable = await image.decode().then(() => true, () => false);
    if (image !== wanted) return false;
    problem.textContent = readable ? "" : trouble;
    if (!readable) return false;
    clean = readNumbers(image, SIDE, crop(image));
    show();
    return true;
  }

  function find(selector) {
    return root.querySelector(selector);
  }
}
