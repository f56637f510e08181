// Which picture could this be? One of 24 known cars lies under noise; for each car its exact
// weight, the average of all, and the best answer: those of chapter 3 in a world small enough.

import { keepPainted, onDrag } from "../canvas.js";
import { percent, write } from "../draw.js";
import { gaussianNoise } from "../noise.js";
import { drawNumbers, readNumbers } from "../pixels.js";

const SIDE = 32;
const CARS = 24;
const STEP = 1 / 16;
const [GAP, LINE] = [4, 20]; // between pictures, and for a line of text

/** Return `(1 - level) · clean + level · noise`. */
export function noisy(clean, noise, level) {
  return Float64Array.from(clean, (value, i) => (1 - level) * value + level * noise[i]);
}

/** Return the weight of each known picture, given `x`: softmax of -|x - (1 - a) x₀|² / (2 a²). */
export function weights(x, known, level) {
  const a = Math.max(level, 1e-6); // at level 0 the nearest picture takes all
  const fits = known.map((clean) => {
    const distance = clean.reduce((sum, value, i) => sum + (x[i] - (1 - level) * value) ** 2, 0);
    return -distance / (2 * a * a);
  });
  const best = Math.max(...fits); // taken away, so that not every power comes to 0
  const powers = fits.map((fit) => Math.exp(fit - best));
  return powers.map((power) => power / powers.reduce((sum, other) => sum + other));
}

/** Return the average of the known pictures by their weights, the best clean picture. */
export function average(known, shares) {
  return known[0].map((_, i) => shares.reduce((sum, share, k) => sum + share * known[k][i], 0));
}

/** Return the answer of least squared error at level `next`, for pairs with shared noise or not. */
export function bestAnswer(x, clean, level, next, shared) {
  const a = Math.max(level, 1e-6);
  const noise = x.map((value, i) => (shared ? (value - (1 - level) * clean[i]) / a : 0));
  return noisy(clean, noise, next);
}

const options = Array.from({ length: CARS }, (_, i) => `<option value="${i}">car ${i + 1}</option>`);
const MARKUP = `
<div class="world-picture"><canvas role="img"></canvas></div>
<form class="live-controls">
  <label class="live-wide">Noise level <span class="live-where"></span>
    <input type="range" name="place" min="0" max="100" value="80"></label>
  <div class="live-row">
    <label>Car <select name="car">${options.join("")}</select></label>
    <label>Seed <input type="number" name="seed" min="1" max="4294967295" value="1" required></label>
  </div>
  <div class="live-row">
    <label>Trained with <select name="noise"><option value="shared">shared noise</option>
      <option value="independent">independent noise</option></select></label>
    <button type="button" name="ask">Make the answer the question</button>
  </div>
  <p class="live-status" role="status"></p>
</form>`;

export async function mount(root) {
  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { place, car, seed, noise, ask } = form.elements;
  const [canvas, where, status] = root.querySelectorAll("canvas, .live-where, .live-status");
  form.addEventListener("submit", (event) => event.preventDefault());
  const sheet = Object.assign(new Image(), { src: new URL("../recorded/cars.png", import.meta.url) });
  if (!(await sheet.decode().then(() => true, () => false))) {
    status.textContent = "The drawn cars could not be loaded. Are you online?";
    return;
  }
  const known = options.map((_, i) => readNumbers(sheet, SIDE, [i * SIDE, 0, SIDE, SIDE]));
  let x, level, asked, shares, most, clean, next, answer;
  const columns = root.clientWidth < 500 ? 6 : 8;
  const large = (width) => width * (columns === 6 ? 0.33 : 0.28);
  const small = (width) => (width - (columns - 1) * GAP) / columns;
  const top = (row, width) => LINE + large(width) + GAP + row * (small(width) + LINE);
  const column = canvas.parentElement.clientWidth;
  const repaint = keepPainted(canvas, top(CARS / columns, column) / column, paint);
  for (const control of [place, car, seed]) control.addEventListener("input", askAnew);
  noise.addEventListener("input", think);
  ask.addEventListener("click", () => {
    [x, level, asked] = [answer, next, asked + 1];
    place.value = 100 * (1 - Math.sqrt(1 - level));
    think();
  });
  onDrag(canvas, (right, down) => {
    const { clientWidth, clientHeight } = canvas;
    const row = (down * clientHeight - top(0, clientWidth)) / (small(clientWidth) + LINE);
    const upTo = (n, place) => Math.min(n - 1, Math.floor(place));
    if (row < 0) place.value = 100 * right;
    else car.value = columns * upTo(CARS / columns, row) + upTo(columns, right * columns);
    askAnew();
  });
  canvas.style.touchAction = "pan-y"; // a finger still scrolls the page
  askAnew();

  function askAnew() {
    if (!form.reportValidity()) return;
    // Near pure noise the cars are told apart, so there the slider is finest.
    level = 1 - (1 - place.value / 100) ** 2;
    x = noisy(known[car.value], gaussianNoise(1, known[0].length, Number(seed.value)), level);
    asked = 0;
    think();
  }

  function think() {
    shares = weights(x, known, level);
    most = Math.max(...shares);
    clean = average(known, shares);
    next = Math.max(0, level - STEP);
    answer = bestAnswer(x, clean, level, next, noise.value === "shared");
    ask.disabled = level === 0;
    place.setAttribute("aria-valuetext", (where.textContent = level.toFixed(3)));
    const told = (i) => `car ${Number(i) + 1}, ${percent(shares[i])}`;
    status.textContent =
      `${asked ? `Answer ${asked}. ` : ""}Noise level ${level.toFixed(3)}: ` +
      `${shares.filter((share) => share >= 0.01).length} of ${CARS} cars weigh 1 % or more. ` +
      `Most likely: ${told(shares.indexOf(most))}. ${asked ? "" : `Under the noise: ${told(car.value)}. `}` +
      `The best answer ${noise.value === "shared" ? "keeps the noise" : "holds no noise"}.`;
    canvas.setAttribute("aria-label", `Question, average, answer; the cars. ${status.textContent}`);
    repaint();
  }

  function paint(context, width, _, colours) {
    const [big, side] = [large(width), small(width)];
    Object.assign(context, { imageSmoothingEnabled: false, lineWidth: 3, strokeStyle: colours.first });
    [["question", x], ["average car", clean], ["best answer", answer]].forEach(([name, numbers], i) => {
      const left = (i * (width - big)) / 2;
      write(context, name, [left, LINE - 6], "left", colours.text);
      drawNumbers(context, numbers, left, LINE, big);
    });
    shares.forEach((share, i) => {
      const [left, above] = [(i % columns) * (side + GAP), top(Math.floor(i / columns), width)];
      context.globalAlpha = 0.15 + 0.85 * Math.sqrt(share / most);
      context.drawImage(sheet, i * SIDE, 0, SIDE, SIDE, left, above, side, side);
      context.globalAlpha = 1;
      context.fillStyle = colours.line;
      context.fillRect(left, above + side + 2, side, 10);
      context.fillStyle = colours.second;
      context.fillRect(left, above + side + 2, side * share, 10);
      if (i === Number(car.value) && !asked) context.strokeRect(left + 1.5, above + 1.5, side - 3, side - 3);
    });
  }
}
