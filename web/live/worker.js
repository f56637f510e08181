// Loads the networks that a request names, once, and answers it. Either it draws, with a call of each
// a step, or it draws on from a picture, or it asks the first network alone, once.
//
// In:  { run, wasm, networks, seed, first, cars, steps, guidance, to, way, straight }, or with
//      { corners, right, down } for the start, four seeds and the place between their noises, or
//      { run, wasm, networks, image, level, nextLevel }, or
//      { run, wasm, networks, picture, ... } as edit.js has it; a newer run ends the one before it.
// Out: { run, type, ... } with the type "progress", "state", "done", "answer" or "error".

import { ANY_CLASS, edit } from "./edit.js";
import { gaussianNoise, mixSpherically, mixStraight } from "./noise.js";
import { toPixels } from "./pixels.js";
import { filesOf } from "./runtime.js";

let latest;
const opened = {}; // what was loaded, by the names of its networks
let turn = Promise.resolve();

self.onmessage = ({ data: request }) => {
  latest = request.run;
  // A graphics card leaves this worker free while it works, and the network takes one call at a time.
  turn = turn.then(() => answer(request));
};

async function answer(request) {
  const work = request.image ? askOnce : request.picture ? drawOn : draw;
  try {
    const { networks } = request;
    opened[networks] ??= load(request.wasm, networks);
    try {
      await work(request);
    } catch (error) {
      // A graphics card may give up at any call: then the processor draws, from the start.
      if ((await opened[networks]).backend !== "webgpu") throw error;
      opened[networks] = load(true, networks);
      await work(request);
    }
  } catch (error) {
    tell(latest, "error", { kind: error.kind, text: String(error.message ?? error) });
  }
}

async function draw({ run, networks: names, first: number, cars, steps, guidance, ...start }) {
  const { networks, ort, shape, ...about } = await opened[names];
  if (run !== latest) return;
  const started = performance.now();
  let state = startOf(start, (seed) => gaussianNoise(cars, sizeOf(shape), seed, number));
  let first;
  for (let step = 0; step < steps; step++) {
    const next = await takeStep(ort, networks, state, [cars, ...shape], guidance, step, steps);
    // A message that waits is read now, and may hold a newer request.
    await new Promise((resume) => setTimeout(resume));
    if (run !== latest) return;
    // All steps that are left, along the direction of this one.
    const guess = state.map((x, i) => x + (steps - step) * (next[i] - x));
    tellState(run, step, state, guess);
    state = next;
    first ??= performance.now() - started;
  }
  tellState(run, steps, state, state); // nothing is left to guess
  tell(run, "done", { ...about, first, milliseconds: performance.now() - started });
}

/** Return the noise that a drawing starts from, of one seed, of two, or of four. */
function startOf({ seed, to, way, straight, corners, right, down }, noise) {
  if (corners) {
    const [above, below] = [0, 2].map((i) => mixSpherically(noise(corners[i]), noise(corners[i + 1]), right));
    return mixSpherically(above, below, down);
  }
  const mix = straight ? mixStraight : mixSpherically;
  return way > 0 ? mix(noise(seed), noise(to), way) : noise(seed);
}

async function askOnce({ run, networks: names, image, level, nextLevel }) {
  const { networks, ort, shape, ...about } = await opened[names];
  if (run !== latest) return;
  const next = await call(ort, networks.strong, image, [1, ...shape], level, nextLevel);
  tell(run, "answer", { ...about, next });
}

async function drawOn({ run, ...request }) {
  const { networks, ort, shape, ...about } = await opened[request.networks];
  if (run !== latest) return;
  const started = performance.now();
  const ask = (images, n, ...question) => call(ort, networks.strong, images, [n, ...shape], ...question);
  let drawn;
  for await (drawn of edit(ask, request)) {
    await new Promise((resume) => setTimeout(resume)); // a newer request is heard here
    if (run !== latest) return;
  }
  tell(run, "done", { ...about, drawn, milliseconds: performance.now() - started });
}

async function takeStep(ort, { strong, weak }, state, shape, guidance, step, steps) {
  const levels = [1 - step / steps, 1 - (step + 1) / steps];
  const next = await call(ort, strong, state, shape, ...levels);
  if (guidance === 1) return next;
  const weakNext = await call(ort, weak, state, shape, ...levels);
  return next.map((strongNext, i) => weakNext[i] + guidance * (strongNext - weakNext[i]));
}

async function call(ort, session, image, shape, level, nextLevel, shares = ANY_CLASS) {
  const n = shape[0];
  const tensor = (value) => new ort.Tensor(new Float32Array(n).fill(value), [n, 1]);
  const question = { noise_level: tensor(level), next_noise_level: tensor(nextLevel) };
  if (session.inputNames.includes("class_shares")) {
    question.class_shares = new ort.Tensor(Float32Array.from(shares), [n, shares.length / n]);
  }
  return (await session.run({ image: new ort.Tensor(image, shape), ...question })).next_image.data;
}

async function load(wasmOnly, networks) {
  const files = JSON.parse(new TextDecoder().decode(await fetchBytes("files.json")));
  if (!wasmOnly && (await hasWebGPU())) {
    try {
      return await loadRuntime("webgpu", files, networks);
    } catch (error) {
      console.info("WebGPU is there but did not work, so WebAssembly draws:", error);
    }
  }
  return loadRuntime("wasm", files, networks);
}

async function loadRuntime(backend, files, models) {
  const { scripts, program } = filesOf(backend);
  const wanted = [program, ...models];
  const total = wanted.reduce((sum, name) => sum + files.bytes[name], 0);
  let loaded = 0;
  const count = (bytes) => tell(latest, "progress", { loaded: (loaded += bytes), total });
  const [wasmBinary, ...contents] = await Promise.all(wanted.map((name) => fetchBytes(name, count)));
  const start = async () => {
    const ort = await import(`./${scripts[0]}`);
    const wasmPaths = { mjs: new URL(scripts[1], import.meta.url).href };
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary, wasmPaths });
    const open = (model) => ort.InferenceSession.create(model, { executionProviders: [backend] });
    // One after the other: the runtime is prepared by the first.
    const networks = { strong: await open(contents[0]) };
    if (contents.length > 1) networks.weak = await open(contents[1]);
    return { ort, networks };
  };
  const { ort, networks } = await start().catch(async (error) => {
    // A script that does not come does not say why, so both are asked for once more.
    await Promise.all(scripts.map((name) => fetchBytes(name)));
    throw error;
  });
  const shape = files.image_shape;
  // The first call is slow, since the browser compiles as it goes: a small one takes the blow.
  const dark = new Float32Array(sizeOf(shape));
  await takeStep(ort, networks, dark, [1, ...shape], networks.weak ? 3 : 1, 0, 1);
  const runtimeFiles = [...scripts, program, ...models];
  return { networks, ort, shape, backend, runtimeFiles };
}

async function hasWebGPU() {
  // The runtime that is shipped here waits for the graphics card by JavaScript Promise Integration.
  if (!("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu?.requestAdapter();
  // A graphics card that is only imitated is slower than WebAssembly.
  return Boolean(adapter) && !adapter.info?.isFallbackAdapter;
}

/** Fetch a file next to this one, and tell `count` of the bytes as they come. */
async function fetchBytes(name, count = () => {}) {
  const unreachable = (error) => {
    throw Object.assign(error, { kind: "unreachable" });
  };
  const response = await fetch(new URL(name, import.meta.url)).catch(unreachable);
  if (!response.ok) {
    throw Object.assign(new Error(`${name}: ${response.status}`), { kind: "missing" });
  }
  const parts = [];
  for (let reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read().catch(unreachable);
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    count(value.length);
  }
}

function sizeOf(shape) {
  return shape.reduce((a, b) => a * b);
}

/** Tell a state, and the clean guess that belongs to it. */
function tellState(run, step, state, guess) {
  tell(run, "state", { step, pixels: toPixels(state), guess: toPixels(guess) });
}

function tell(run, type, rest) {
  self.postMessage({ run, type, ...rest });
}
