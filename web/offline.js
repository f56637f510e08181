// A service worker: the network answers, and where it does not, what `live/keep.js` has kept.

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = async (error) => {
    const found = await caches.match(event.request, { ignoreSearch: true });
    if (found) return found;
    throw error;
  };
  event.respondWith(fetch(event.request).catch(kept));
});
