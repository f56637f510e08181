// Loads the network and its guide when the first request comes, and draws: a call of each a step.
//
// In:  { run, seed, cars, steps, guidance, to, way, wasm }; a newer run ends the one before it.
// Out: { run, type, ... } with the type "progress", "state", "done" or "error".

import { gaussianNoise, mixSpherically } from "./noise.js";
import { toPixels } from "./pixels.js";

const RUNTIMES = {
  wasm: { script: "ort.wasm.min.mjs", binary: "ort-wasm-simd-threaded" },
  webgpu: { script: "ort.jspi.min.mjs", binary: "ort-wasm-simd-threaded.jspi" },
};

let latest;
let network;
let turn = Promise.resolve();

self.onmessage = ({ data: request }) => {
  latest = request.run;
  // A graphics card leaves this worker free while it works, and the network takes one call at a time.
  turn = turn.then(() => answer(request));
};

async function answer(request) {
  try {
    network ??= load(request.wasm);
    try {
      await draw(request);
    } catch (error) {
      // A graphics card may give up at any call: then the processor draws, from the start.
      if ((await network).backend !== "webgpu") throw error;
      network = load(true);
      await draw(request);
    }
  } catch (error) {
    tell(latest, "error", { kind: error.kind, text: String(error.message ?? error) });
  }
}

async function draw({ run, seed, cars, steps, guidance, to, way }) {
  const { networks, ort, shape, ...about } = await network;
  if (run !== latest) return;
  const started = performance.now();
  const size = shape.reduce((a, b) => a * b);
  let state = gaussianNoise(cars, size, seed);
  if (way > 0) state = mixSpherically(state, gaussianNoise(cars, size, to), way);
  tellState(run, 0, state);
  let first;
  for (let step = 0; step < steps; step++) {
    state = await takeStep(ort, networks, state, [cars, ...shape], guidance, step, steps);
    // A message that waits is read now, and may hold a newer request.
    await new Promise((resume) => setTimeout(resume));
    if (run !== latest) return;
    tellState(run, step + 1, state);
    first ??= performance.now() - started;
  }
  tell(run, "done", { ...about, first, milliseconds: performance.now() - started });
}

async function takeStep(ort, { strong, weak }, state, shape, guidance, step, steps) {
  const level = (t) => new ort.Tensor(new Float32Array(shape[0]).fill(1 - t / steps), [shape[0], 1]);
  const ask = async (session) => {
    const image = new ort.Tensor(state, shape);
    const question = { image, noise_level: level(step), next_noise_level: level(step + 1) };
    return (await session.run(question)).next_image.data;
  };
  const next = await ask(strong);
  if (guidance === 1) return next;
  const weakNext = await ask(weak);
  return next.map((strongNext, i) => weakNext[i] + guidance * (strongNext - weakNext[i]));
}

async function load(wasmOnly) {
  const files = JSON.parse(new TextDecoder().decode(await fetchBytes("files.json")));
  if (!wasmOnly && (await hasWebGPU())) {
    try {
      return await loadRuntime("webgpu", files);
    } catch (error) {
      console.info("WebGPU is there but did not work, so WebAssembly draws:", error);
    }
  }
  return loadRuntime("wasm", files);
}

async function loadRuntime(backend, files) {
  const { script, binary } = RUNTIMES[backend];
  const wanted = [`ort/${binary}.wasm`, "strong.onnx", "weak.onnx"];
  const total = wanted.reduce((sum, name) => sum + files.bytes[name], 0);
  let loaded = 0;
  const count = (bytes) => tell(latest, "progress", { loaded: (loaded += bytes), total });
  const [wasmBinary, ...models] = await Promise.all(wanted.map((name) => fetchBytes(name, count)));
  const scripts = [`ort/${script}`, `ort/${binary}.mjs`];
  const start = async () => {
    const ort = await import(`./${scripts[0]}`);
    const wasmPaths = { mjs: new URL(scripts[1], import.meta.url).href };
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary, wasmPaths });
    const open = (model) => ort.InferenceSession.create(model, { executionProviders: [backend] });
    // One after the other: the runtime is prepared by the first.
    const networks = { strong: await open(models[0]), weak: await open(models[1]) };
    return { ort, networks };
  };
  const { ort, networks } = await start().catch(async (error) => {
    // A script that does not come does not say why, so both are asked for once more.
    await Promise.all(scripts.map((name) => fetchBytes(name)));
    throw error;
  });
  const shape = files.image_shape;
  // The first call is slow, since the browser compiles as it goes: a small one takes the blow.
  const dark = new Float32Array(shape.reduce((a, b) => a * b));
  await takeStep(ort, networks, dark, [1, ...shape], 3, 0, 1);
  const runtimeFiles = [...scripts, `ort/${binary}.wasm`];
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

function tellState(run, step, state) {
  const pixels = toPixels(state);
  self.postMessage({ run, type: "state", step, pixels }, [pixels.buffer]);
}

function tell(run, type, rest) {
  self.postMessage({ run, type, ...rest });
}
