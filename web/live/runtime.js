// Which files the worker loads before it can ask a network, for the processor or a graphics card.

export const GUIDED = ["strong.onnx", "weak.onnx"]; // the network, and the guide away from which it draws
export const JUMPS = ["jumps.onnx"];

const RUNTIMES = {
  wasm: { script: "ort/ort.wasm.min.mjs", binary: "ort/ort-wasm-simd-threaded" },
  webgpu: { script: "ort/ort.jspi.min.mjs", binary: "ort/ort-wasm-simd-threaded.jspi" },
};

/** Return the names of the scripts and the program, next to this file. */
export function filesOf(backend) {
  const { script, binary } = RUNTIMES[backend];
  return { scripts: [script, `${binary}.mjs`], program: `${binary}.wasm` };
}
