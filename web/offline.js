// A service worker: the network answers, and where it does not, what `live/keep.js` has kept.

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = async (error) => {
    // Another version of a file is better than none.
    for (const ignoreSearch of [false, true]) {
      const found = await caches.match(event.request, { ignoreSearch });
      if (found) return found;
    }
    throw error;
  };
  event.respondWith(fetch(event.request).catch(kept));
});
