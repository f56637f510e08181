// Keeps the page and what the generator needs in the browser, so that both work without a network.

const kept = {};

/** Store this page, what it loaded, and the generator's files, those of the other runtime not. */
export function keepForOffline(runtimeFiles) {
  kept[runtimeFiles] ??= keep(runtimeFiles).catch((error) => {
    console.info("This page will need a network the next time:", error);
  });
}

async function keep(runtimeFiles) {
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register(new URL("../offline.js", import.meta.url));
  const { bytes, edition } = await (await fetch(new URL("files.json", import.meta.url))).json();
  const own = Object.keys(bytes).filter((name) => !/^ort\/|\.onnx$/.test(name));
  const needed = [...own, ...runtimeFiles, "files.json"].map((name) => new URL(name, import.meta.url).href);
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  // Pictures further down, and the frames of sliders, may not have come yet.
  const pictures = [...document.images].map((image) => image.src);
  const frames = [...document.querySelectorAll("[data-frames]")]
    .flatMap(({ dataset }) => dataset.frames.split(" "))
    .map((frame) => new URL(frame, location.href).href);
  const site = new URL("..", import.meta.url).href;
  const urls = new Set([location.href.split("#")[0], ...loaded, ...pictures, ...frames, ...needed]);
  const cache = await caches.open(`simple-diffusion ${new URL(site).pathname} ${edition}`); // as in offline.js
  const store = async (url) => {
    const answer = await fetch(url);
    if (answer.ok) await cache.put(url, answer);
  };
  // One file that is gone should not keep the others from being kept.
  await Promise.allSettled([...urls].filter((url) => url.startsWith(site)).map(store));
  document.documentElement.dataset.offline = "ready";
}
