// How a box on a page asks the network: it starts the worker, and says what went wrong.

import { GUIDED, filesOf } from "./runtime.js";

const WORKER = new URL("worker.js", import.meta.url);

/**
 * Return `ask`, which starts the worker at the first request and sends it (see worker.js).
 *
 * `networks` are the files that the worker loads, one, or one and its guide; a request may name others.
 * `receive` gets the worker's answers to the newest request; an error's `text` is a sentence.
 * `ask.started()` tells whether the network was asked for, and did not fail since.
 */
export function openNetwork(root, receive, networks = GUIDED) {
  let worker;
  let runs = 0;

  function ask(request) {
    if (typeof WebAssembly === "undefined" || typeof Worker === "undefined") {
      return fail({ kind: "old", text: "no WebAssembly or no Worker" });
    }
    worker ??= start();
    const wasm = "wasm" in root.dataset || new URLSearchParams(location.search).has("wasm");
    worker.postMessage({ networks, ...request, run: ++runs, wasm });
  }

  function start() {
    const started = new Worker(WORKER, { type: "module" });
    started.onmessage = ({ data }) => {
      if (data.run === runs) data.type === "error" ? fail(data) : receive(data);
    };
    // The event does not say why, so the file is asked for once more.
    started.onerror = async () => {
      const kind = await fetch(WORKER).then(({ ok }) => (ok ? "old" : "missing"), () => "unreachable");
      fail({ kind, text: "worker.js" });
    };
    return started;
  }

  function fail({ kind, text }) {
    worker?.terminate();
    worker = undefined;
    receive({ type: "error", text: explain(kind, text) });
  }

  ask.started = () => worker !== undefined;
  return ask;
}

/** Return a sentence about what the first request fetches, or none where the sizes do not come. */
export async function sizeOfFirstLoad(networks = GUIDED) {
  const answer = await fetch(new URL("files.json", import.meta.url)).catch(() => undefined);
  if (!answer?.ok) return "";
  const { bytes } = await answer.json();
  const [processor, card] = ["wasm", "webgpu"].map((backend) => {
    const { scripts, program } = filesOf(backend);
    const sum = [...scripts, program, ...networks].reduce((total, name) => total + bytes[name], 0);
    return Math.ceil(sum / 1e6);
  });
  return `The first time, it fetches up to ${processor} MB (${card} MB where a graphics card is used).`;
}

/** Show in a progress element how much of the network has come. */
export function showProgress(element, { loaded, total }) {
  element.hidden = false;
  [element.max, element.value] = [total, loaded];
  element.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

function explain(kind, text) {
  if (/memory|alloc/i.test(text)) kind = "memory";
  const reasons = {
    old: "This browser cannot run the network: it lacks WebAssembly or workers. A current one can.",
    missing: "A file of the network is missing on this site. If you built it, run make book again.",
    unreachable: "The network could not be loaded. Are you online? Then try again.",
    memory: "This device ran out of memory. Close some tabs, ask for fewer pictures, and try again.",
  };
  const reason = reasons[kind] ?? "The network could not run in this browser. Try again.";
  return `${reason} (${text})`;
}
