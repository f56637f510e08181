// The live generator: every `<div data-live-generator>` becomes a box that draws cars.
//
// The box holds a recorded run when the page comes (see tools/finish_site.py). It stays in use until
// the reader draws, and comes back when the browser cannot.

import { drawGrid, fit, setSize } from "./pixels.js";
import { keepForOffline } from "./keep.js";

const LIMITS = { seed: 2 ** 32 - 1, cars: 25, steps: 64, guidance: 6, to: 2 ** 32 - 1 };
const LINK = /^#draw-seed-(\d+)-cars-(\d+)-steps-(\d+)(?:-guidance-([\d.]+))?(?:-to-(\d+)-way-(\d+))?$/;

const MARKUP = `
<div class="live-picture">
  <div class="live-stage"><canvas role="img"></canvas></div>
  <label class="live-wide">Step <span class="live-where"></span>
    <input type="range" name="step" min="0" aria-label="Step"></label>
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
    <summary>More: guidance</summary>
    <label class="live-wide">Guidance <span class="live-guidance"></span>
      <input type="range" name="guidance" min="1" max="${LIMITS.guidance}" step="0.5" value="3"></label>
  </details>
  <details class="live-walk">
    <summary>Walk to a second seed</summary>
    <label class="live-wide">Second seed <input type="number" name="to" min="0" max="${LIMITS.to}" value="2" required></label>
    <label class="live-wide">Way <span class="live-share"></span>
      <input type="range" name="way" min="0" max="100" step="5" value="0"></label>
  </details>
  <progress hidden aria-label="Loading the network"></progress>
  <p class="live-status" role="status"></p>
  <p class="live-error" role="alert"></p>
  <div class="live-row">
    <button type="button" name="download">Download PNG</button>
    <button type="button" name="link">Copy link</button>
  </div>
  <label class="live-wide" hidden>Link to this drawing <input name="address" readonly></label>
</form>`;

const WORKER = new URL("worker.js", import.meta.url);

const INTRODUCTION =
  "This is a recorded run of seed 0. Press Draw, and your browser draws its own: it loads the network once, " +
  "and sends nothing.";

for (const root of document.querySelectorAll("[data-live-generator]")) mount(root);

function mount(root) {
  let frames = recordedFrames(root);
  let drawn; // the request that the frames come from; undefined for the recorded run
  let running; // the request that is being drawn
  let worker;
  let runs = 0;
  let following = true; // whether the picture follows the run, or stays where the reader put it

  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { seed, cars, steps, guidance, to, way, address } = form.elements;
  const [canvas, slider, where] = ["canvas", "[name=step]", ".live-where"].map(find);
  const [strength, share] = [".live-guidance", ".live-share"].map(find);
  const [status, problem, progress, walk] = [".live-status", ".live-error", "progress", ".live-walk"].map(find);
  status.textContent = INTRODUCTION;
  setState("idle");
  show(frames.length - 1);

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
  form.elements.link.addEventListener("click", copyLink);
  // Nobody sees what is wrong with a field that is folded away.
  to.addEventListener("invalid", () => (walk.open = true));
  for (const range of [guidance, way]) {
    range.addEventListener("input", tellRanges);
    // These are drawn as the reader goes, but the first load is asked for by a button.
    range.addEventListener("change", () => worker && draw());
  }
  slider.addEventListener("input", () => {
    following = Number(slider.value) === frames.length - 1;
    show(Number(slider.value));
  });
  new ResizeObserver(() => fit(canvas)).observe(canvas.parentElement);
  window.addEventListener("hashchange", followLink);
  tellRanges();
  followLink();

  /** Start what the controls ask for; a run that is under way gives way to it. */
  function draw() {
    if (!form.reportValidity()) return;
    const request = asked();
    if (running && same(request, running)) return;
    problem.textContent = "";
    if (typeof WebAssembly === "undefined" || typeof Worker === "undefined") {
      return fail({ kind: "old", text: "no WebAssembly or no Worker" });
    }
    running = request;
    following = true;
    worker ??= startWorker();
    worker.postMessage({ ...request, run: ++runs, wasm: wantsWasm(root) });
    status.textContent = `Drawing ${describe(request)}.`;
    setState("waiting");
  }

  /** Return the request that the controls hold. */
  function asked() {
    return {
      seed: Number(seed.value),
      cars: Number(cars.value),
      steps: Number(steps.value),
      guidance: Number(guidance.value),
      to: Number(to.value),
      way: Number(way.value) / 100,
    };
  }

  function startWorker() {
    const started = new Worker(WORKER, { type: "module" });
    started.onmessage = ({ data }) => data.run === runs && receive(data);
    // The event does not say why, so the file is asked for once more.
    started.onerror = async () => {
      const kind = await fetch(WORKER).then(({ ok }) => (ok ? "old" : "missing"), () => "unreachable");
      fail({ kind, text: "worker.js" });
    };
    return started;
  }

  function receive(message) {
    if (message.type === "progress") {
      progress.hidden = false;
      [progress.max, progress.value] = [message.total, message.loaded];
      const [loaded, total] = [message.loaded, message.total].map((n) => (n / 1e6).toFixed(1));
      progress.textContent = `${loaded} of ${total} MB`;
    } else if (message.type === "state") {
      addState(message);
    } else if (message.type === "done") {
      finish(message);
    } else {
      fail(message);
    }
  }

  function addState({ step, pixels }) {
    progress.hidden = true;
    if (step === 0) {
      frames = [];
      drawn = running;
      setState("drawing");
    }
    const level = (1 - step / drawn.steps).toFixed(2);
    const words = `${step} of ${drawn.steps}: noise level ${level}`;
    const side = Math.sqrt(pixels.length / 4 / drawn.cars);
    frames.push({ words, paint: (canvas) => drawGrid(canvas, pixels, side) });
    // Where the reader asked for less motion, the steps do not play; the slider still shows them.
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (following && (!still || step === 0 || step === drawn.steps)) show(step);
    else show(Math.min(Number(slider.value), step));
  }

  function finish({ backend, first, milliseconds, runtimeFiles }) {
    running = undefined;
    const device = backend === "webgpu" ? "your graphics card" : "your processor";
    status.textContent =
      `Done: ${describe(drawn)}, in ${(milliseconds / 1000).toFixed(1)} seconds on ${device}. ` +
      "Move the slider to see every step.";
    Object.assign(root.dataset, { backend, first, milliseconds });
    setState("done");
    keepForOffline(runtimeFiles);
  }

  function fail({ kind, text }) {
    worker?.terminate();
    worker = undefined;
    const begun = running && running === drawn;
    running = undefined;
    progress.hidden = true;
    status.textContent = "";
    const rest = begun ? "Its steps so far stay" : `The ${drawn ? "last" : "recorded"} run stays`;
    problem.textContent = `${explain(kind, text)} ${rest} here.`;
    setState("error");
  }

  function show(step) {
    slider.max = frames.length - 1;
    slider.value = step;
    where.textContent = frames[step].words;
    slider.setAttribute("aria-valuetext", frames[step].words);
    const what = drawn ? describe(drawn) : "nine recorded pictures";
    canvas.setAttribute("aria-label", `A grid of small pictures: ${what}, step ${frames[step].words}`);
    root.dataset.step = step;
    const frame = frames[step];
    frame.paint(canvas, () => frames[slider.value] === frame);
  }

  function download() {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d");
    context.fillStyle = "white"; // the gaps between the pictures
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(canvas, 0, 0);
    const link = document.createElement("a");
    link.href = copy.toDataURL("image/png");
    link.download = drawn ? `cars${linkTo(drawn).hash.slice(5)}-step-${slider.value}.png` : "cars.png";
    link.click();
  }

  async function copyLink() {
    if (!form.reportValidity()) return;
    address.value = linkTo(drawn ?? asked());
    try {
      await navigator.clipboard.writeText(address.value);
      status.textContent = "The link is copied. Whoever opens it sees the same cars.";
    } catch {
      address.parentElement.hidden = false;
      address.select();
      status.textContent = "Copy the link from the field: whoever opens it sees the same cars.";
    }
  }

  /** Draw what the address of the page asks for, if it does. */
  function followLink() {
    const match = LINK.exec(location.hash);
    if (!match) return;
    // A link without guidance was made for the network alone.
    [, seed.value, cars.value, steps.value, guidance.value = 1, to.value = 2, way.value = 0] = match;
    walk.open = match[5] !== undefined;
    tellRanges();
    root.scrollIntoView();
    // A slider takes the nearest value that it has, and says nothing.
    const refused = (field, i) =>
      match[i + 1] && !(field.validity.valid && Number(field.value) === Number(match[i + 1]));
    const field = [seed, cars, steps, guidance, to, way].find(refused);
    if (!field) return draw();
    const { name, min, max, step } = field;
    problem.textContent =
      `This link asks for another ${name} than there is; expected ${min} to ${max} in steps of ${step || 1}. ` +
      "Choose one, and press Draw.";
  }

  function tellRanges() {
    const alone = guidance.value === "1" ? " (the network alone)" : "";
    strength.textContent = `${guidance.value}${alone}`;
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

function describe({ seed, cars, steps, guidance, to, way }) {
  const walk = way > 0 ? `, ${Math.round(way * 100)} % of the way to seed ${to}` : "";
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  return `${count(cars, "car")} from seed ${seed}${walk} in ${count(steps, "step")}, guidance ${guidance}`;
}

function linkTo({ seed, cars, steps, guidance, to, way }) {
  const url = new URL(location.href);
  url.hash = `draw-seed-${seed}-cars-${cars}-steps-${steps}-guidance-${guidance}`;
  if (way > 0) url.hash += `-to-${to}-way-${Math.round(way * 100)}`;
  return url;
}

function same(one, other) {
  return Object.keys(one).every((key) => one[key] === other[key]);
}

function wantsWasm(root) {
  return "wasm" in root.dataset || new URLSearchParams(location.search).has("wasm");
}

function explain(kind, text) {
  if (/memory|alloc/i.test(text)) kind = "memory";
  const reasons = {
    old: "This browser cannot run the network: it lacks WebAssembly or workers. A current one can.",
    missing: "A file of the network is missing on this site. If you built it, run make book again.",
    unreachable: "The network could not be loaded. Are you online? Press Draw to try again.",
    memory: "This device ran out of memory. Close some tabs, ask for fewer cars, and press Draw.",
  };
  const reason = reasons[kind] ?? "The network could not run in this browser. Press Draw to try again.";
  return `${reason} (${text})`;
}
