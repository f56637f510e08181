// The live generator: every `<div data-live-generator>` becomes a box that draws cars, by the guided
// network, or with the value "jumps" by that of chapter 10, until the reader asks for the other.
//
// The box holds a recorded run when the page comes (see tools/finish_site.py). It stays in use until
// the reader draws, and comes back when the browser cannot.

import { drawGrid, enlarge, fit, gridColumns, setSize } from "./pixels.js";
import { GUIDED, JUMPS } from "./runtime.js";
import { keepForOffline } from "./keep.js";
import { copyLink } from "./link.js";
import { openNetwork, showProgress, sizeOfFirstLoad } from "./network.js";

const LIMITS = { seed: 2 ** 32 - 1, first: 2 ** 32 - 26, cars: 25, steps: 64, guidance: 6, to: 2 ** 32 - 1 };
// What a link leaves out; one without guidance was made for the network alone.
const USUAL = { seed: 0, first: 0, cars: 9, steps: 16, guidance: 1, to: 2, way: 0 };
const FEW = 4; // steps of the network that jumps
const START = { seed: 0, first: 0, cars: 9, steps: USUAL.steps, guidance: 3, to: 2, way: 0, straight: false, jumps: false };
const ENLARGED = 8; // pixels of a saved picture for each that was drawn

// A run: its state, the clean guess under it, and its name where two stand side by side.
const COLUMN = `
  <div class="live-stage"><canvas role="img"></canvas></div>
  <div class="live-stage" hidden><canvas role="img"></canvas></div>
  <figcaption></figcaption>`;

const MARKUP = `
<div class="live-picture">
  <div class="live-columns">
    <figure class="live-now">${COLUMN}</figure>
    <figure class="live-kept" hidden>${COLUMN}</figure>
  </div>
  <label class="live-wide">Step <span class="live-where"></span>
    <input type="range" name="step" min="0" aria-label="Step"></label>
  <p class="live-address">Tap a picture, and its own address stands here.</p>
</div>
<form class="live-controls">
  <div class="live-row">
    <label>Seed <input type="number" name="seed" min="0" max="${LIMITS.seed}" value="0" required></label>
    <label>Cars <input type="number" name="cars" min="1" max="${LIMITS.cars}" value="9" required></label>
    <label>Steps <input type="number" name="steps" min="1" max="${LIMITS.steps}" value="16" required></label>
  </div>
  <div class="live-row">
    <button class="live-main">Draw</button>
    <button type="button" name="another">Another seed</button>
  </div>
  <details>
    <summary>More: guidance, jumps, clean guesses</summary>
    <label class="live-wide">Guidance <span class="live-guidance"></span>
      <input type="range" name="guidance" min="1" max="${LIMITS.guidance}" step="0.5" value="3"></label>
    <label class="live-tick"><input type="checkbox" name="jumps"> By the network of chapter 10, which learned guidance and jumps</label>
    <label class="live-tick"><input type="checkbox" name="guesses"> Under each state its clean guess</label>
    <label class="live-wide">Number of the first car
      <input type="number" name="first" min="0" max="${LIMITS.first}" value="0" required></label>
  </details>
  <details class="live-walk">
    <summary>Walk to a second seed</summary>
    <label class="live-wide">Second seed <input type="number" name="to" min="0" max="${LIMITS.to}" value="2" required></label>
    <label class="live-wide">Way <span class="live-share"></span>
      <input type="range" name="way" min="0" max="100" step="5" value="0"></label>
    <label class="live-tick"><input type="checkbox" name="straight"> Walk straight, not on the sphere</label>
  </details>
  <progress hidden aria-label="Loading the network"></progress>
  <p class="live-status" role="status"></p>
  <p class="live-error" role="alert"></p>
  <div class="live-row">
    <button type="button" name="download">Download PNG</button>
    <button type="button" name="link">Copy link</button>
    <button type="button" name="keep">Keep beside the next</button>
  </div>
  <label class="live-wide" hidden>Link to this drawing <input name="address" readonly></label>
</form>`;

const INTRODUCTION =
  "This is a recorded run of seed 0. Press Draw, and your browser draws its own, and sends nothing.";

for (const root of document.querySelectorAll("[data-live-generator]")) mount(root);

function mount(root) {
  const jumping = root.dataset.liveGenerator === "jumps" && { jumps: true, steps: FEW, guidance: 1 };
  let shown = { request: { ...START, ...jumping }, frames: recordedFrames(root), recorded: true };
  let kept; // another run, shown beside it
  let running; // the request that is being drawn
  let following = true; // whether the picture follows the run, or stays where the reader put it

  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { seed, steps, guidance, jumps, guesses, way, straight, keep, address } = form.elements;
  const [now, beside, canvas] = [".live-now", ".live-kept", "canvas"].map(find);
  const [slider, where, own] = ["[name=step]", ".live-where", ".live-address"].map(find);
  const [strength, share] = [".live-guidance", ".live-share"].map(find);
  const [status, problem, progress, walk] = [".live-status", ".live-error", "progress", ".live-walk"].map(find);
  const ask = openNetwork(root, receive);
  jumps.checked = shown.request.jumps;
  steps.value = shown.request.steps;
  status.textContent = INTRODUCTION;
  sizeOfFirstLoad(networksOf(shown.request)).then((sentence) => {
    if (root.dataset.state === "idle") status.textContent = `${INTRODUCTION} ${sentence}`;
  });
  setState("idle");
  show(shown.frames.length - 1);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    draw();
  });
  form.elements.another.addEventListener("click", () => {
    seed.value = Math.floor(Math.random() * 10000);
    way.value = 0; // at the end of a walk every first seed draws the same
    tellRanges();
    draw();
  });
  form.elements.download.addEventListener("click", download);
  form.elements.link.addEventListener("click", shareLink);
  keep.addEventListener("click", keepOrLetGo);
  guesses.addEventListener("change", () => show(Number(slider.value)));
  canvas.addEventListener("click", tellAddress);
  // Nobody sees what is wrong with a field that is folded away.
  for (const fold of root.querySelectorAll("details")) {
    fold.addEventListener("invalid", () => (fold.open = true), { capture: true });
  }
  for (const input of [guidance, way, straight]) {
    input.addEventListener("input", tellRanges);
    // These are drawn as the reader goes, but the first load is asked for by a button.
    input.addEventListener("change", () => ask.started() && draw());
  }
  jumps.addEventListener("change", () => {
    steps.value = jumps.checked ? FEW : USUAL.steps;
    tellRanges();
    if (ask.started()) draw();
  });
  slider.addEventListener("input", () => {
    following = Number(slider.value) === shown.frames.length - 1;
    show(Number(slider.value));
  });
  const fitting = new ResizeObserver((stages) => stages.forEach(({ target }) => fit(target.firstChild)));
  for (const stage of root.querySelectorAll(".live-stage")) fitting.observe(stage);
  window.addEventListener("hashchange", followLink);
  tellRanges();
  followLink();

  /** Start what the controls ask for; a run that is under way gives way to it. */
  function draw() {
    if (!form.reportValidity()) return;
    const request = asked();
    if (running && same(request, running)) return;
    problem.textContent = "";
    running = request;
    following = true;
    status.textContent = `Drawing ${describe(request)}.`;
    setState("waiting");
    ask({ ...request, networks: networksOf(request) });
  }

  /** Return the request that the controls hold. */
  function asked() {
    const names = ["seed", "first", "cars", "steps", "guidance", "to"];
    const numbers = names.map((name) => [name, Number(form.elements[name].value)]);
    const walk = { way: Number(way.value) / 100, straight: straight.checked };
    const alone = jumps.checked && { guidance: 1 };
    return { ...Object.fromEntries(numbers), ...alone, ...walk, jumps: jumps.checked };
  }

  function receive(message) {
    if (message.type === "progress") {
      showProgress(progress, message);
    } else if (message.type === "state") {
      addState(message);
    } else if (message.type === "done") {
      finish(message);
    } else {
      fail(message);
    }
  }

  function addState({ step, pixels, guess }) {
    progress.hidden = true;
    if (step === 0) {
      shown = { request: running, frames: [] };
      setState("drawing");
    }
    const { frames, request } = shown;
    const words = `${step} of ${request.steps}: noise level ${(1 - step / request.steps).toFixed(2)}`;
    const side = Math.sqrt(pixels.length / 4 / request.cars);
    frames.push({
      words,
      paint: (canvas) => drawGrid(canvas, pixels, side),
      paintGuess: (canvas) => drawGrid(canvas, guess, side),
    });
    // Where the reader asked for less motion, the steps do not play; the slider still shows them.
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (following && (!still || step === 0 || step === request.steps)) show(step);
    else show(Math.min(Number(slider.value), step));
  }

  function finish({ backend, first, milliseconds, runtimeFiles }) {
    running = undefined;
    const device = backend === "webgpu" ? "your graphics card" : "your processor";
    status.textContent =
      `Done: ${describe(shown.request)}, in ${(milliseconds / 1000).toFixed(1)} seconds on ${device}. ` +
      "Move the slider to see every step.";
    Object.assign(root.dataset, { backend, first, milliseconds });
    setState("done");
    keepForOffline(runtimeFiles);
  }

  function fail({ text }) {
    const begun = running && running === shown.request;
    running = undefined;
    progress.hidden = true;
    status.textContent = "";
    const rest = begun ? "Its steps so far stay" : `The ${shown.recorded ? "recorded" : "last"} run stays`;
    problem.textContent = `${text} ${rest} here.`;
    setState("error");
  }

  function show(step) {
    const { words } = shown.frames[step];
    slider.max = shown.frames.length - 1;
    slider.value = step;
    where.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    root.dataset.step = step;
    showRun(now, shown, step);
    if (kept) showRun(beside, kept, Math.floor((step / shown.request.steps) * kept.request.steps));
  }

  /** Show a run in its column, at this step or the last that it has. */
  function showRun(column, run, step) {
    const frame = run.frames[Math.min(step, run.frames.length - 1)];
    const [state, guess] = column.querySelectorAll("canvas");
    const name = run.recorded ? "nine recorded pictures" : describe(run.request);
    column.querySelector("figcaption").textContent = kept ? name : "";
    state.setAttribute("aria-label", `A grid of small pictures: ${name}, step ${frame.words}`);
    guess.setAttribute("aria-label", `The clean guess for each: ${name}, step ${frame.words}`);
    frame.paint(state, () => shown.frames[slider.value] === frame || run === kept);
    // The recorded run came without guesses, and the network that jumps makes none.
    guess.parentElement.hidden = !guesses.checked || run.recorded || run.request.jumps;
    if (!guess.parentElement.hidden) frame.paintGuess(guess);
  }

  function keepOrLetGo() {
    kept = kept ? undefined : shown;
    beside.hidden = !kept;
    keep.textContent = kept ? "Let the kept run go" : "Keep beside the next";
    show(Number(slider.value));
  }

  /** Tell what the picture under the finger depends on: its seed and its number. */
  function tellAddress({ offsetX, offsetY }) {
    const { request } = shown;
    const columns = gridColumns(request.cars);
    const [column, row] = [offsetX, offsetY].map((x) => Math.floor((x / canvas.clientWidth) * columns));
    const number = row * columns + column;
    if (column >= columns || number >= request.cars) return;
    const first = request.first + number;
    const link = document.createElement("a");
    link.href = linkTo({ ...request, first, cars: 1 });
    link.textContent = `seed ${request.seed}, number ${first}`;
    own.replaceChildren("This picture is ", link, ": the link draws it alone.");
  }

  function download() {
    const link = document.createElement("a");
    link.href = enlarge(canvas, ENLARGED).toDataURL("image/png");
    link.download = `cars${linkTo(shown.request).hash.slice(5)}-step-${slider.value}.png`;
    link.click();
  }

  async function shareLink() {
    if (!form.reportValidity()) return;
    const link = linkTo(shown.recorded ? asked() : shown.request).href;
    status.textContent = `${await copyLink(link, address)} Whoever opens it sees the same cars.`;
  }

  /** Draw what the address of the page asks for, if it does. */
  function followLink() {
    const [kind, ...words] = location.hash.split("-");
    if (kind !== "#draw") return;
    const wanted = (name) => words.includes(name) ? words[words.indexOf(name) + 1] : USUAL[name];
    const fields = Object.keys(USUAL).map((name) => form.elements[name]);
    for (const field of fields) field.value = wanted(field.name);
    straight.checked = words.includes("straight");
    jumps.checked = words.includes("jumps");
    walk.open = words.includes("to");
    tellRanges();
    root.scrollIntoView();
    // A slider takes the nearest value that it has, and says nothing.
    const refused = fields.find((field) =>
      !field.validity.valid || Number(field.value) !== Number(wanted(field.name)));
    if (!refused) return draw();
    const { name, min, max, step } = refused;
    problem.textContent =
      `This link asks for another ${name} than there is; expected ${min} to ${max} in steps of ${step || 1}. ` +
      "Choose one, and press Draw.";
  }

  function tellRanges() {
    const alone = guidance.value === "1" ? " (the network alone)" : "";
    strength.textContent = jumps.checked ? "is in the network" : `${guidance.value}${alone}`;
    guidance.disabled = jumps.checked;
    share.textContent = `${way.value} %`;
    way.setAttribute("aria-valuetext", `${way.value} percent of the way to the second seed`);
  }

  function setState(state) {
    root.dataset.state = state;
  }

  function find(selector) {
    return root.querySelector(selector);
  }
}

/** Read the recorded run from the content that the page came with. */
function recordedFrames(root) {
  return [...root.querySelectorAll("figure")].map((figure) => {
    const image = figure.querySelector("img");
    return {
      words: figure.querySelector("figcaption").textContent.replace("Step ", ""),
      paint: async (canvas, stillWanted) => {
        const copy = new Image();
        copy.src = image.src;
        await copy.decode().catch(() => {}); // offline, say: then the old picture stays
        if (!copy.naturalWidth || !stillWanted()) return;
        setSize(canvas, copy.naturalWidth, copy.naturalHeight);
        canvas.getContext("2d").drawImage(copy, 0, 0);
      },
    };
  });
}

function networksOf({ jumps }) {
  return jumps ? JUMPS : GUIDED;
}

function describe({ seed, first, cars, steps, guidance, to, way, straight, jumps }) {
  const kind = straight ? "straight way" : "way";
  const walk = way > 0 ? `, ${Math.round(way * 100)} % of the ${kind} to seed ${to}` : "";
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const start = first > 0 ? `, number ${first}${cars > 1 ? " and on" : ""}` : "";
  const how = jumps ? "by the network that jumps" : `guidance ${guidance}`;
  return `${count(cars, "car")} from seed ${seed}${start}${walk} in ${count(steps, "step")}, ${how}`;
}

function linkTo({ seed, first, cars, steps, guidance, to, way, straight, jumps }) {
  const url = new URL(location.href);
  url.hash = `draw-seed-${seed}-cars-${cars}-steps-${steps}-guidance-${guidance}`;
  if (first > 0) url.hash += `-first-${first}`;
  if (way > 0) url.hash += `-to-${to}-way-${Math.round(way * 100)}${straight ? "-straight" : ""}`;
  if (jumps) url.hash += "-jumps";
  return url;
}

function same(one, other) {
  return Object.keys(one).every((key) => one[key] === other[key]);
}
