// Which files the worker loads before it can ask the network, for the processor or a graphics card.

const RUNTIMES = {
  wasm: { script: "ort/ort.wasm.min.mjs", binary: "ort/ort-wasm-simd-threaded" },
  webgpu: { script: "ort/ort.jspi.min.mjs", binary: "ort/ort-wasm-simd-threaded.jspi" },
};

/** Return the names of the scripts, the program and the networks, next to this file. */
export function filesOf(backend) {
  const { script, binary } = RUNTIMES[backend];
  return { scripts: [script, `${binary}.mjs`], program: `${binary}.wasm`, networks: ["strong.onnx", "weak.onnx"] };
}
