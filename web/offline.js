// A service worker: the network answers, and where it does not, what `live/keep.js` has kept.

const EDITION = "unfinished"; // tools/finish_site.py writes the site's digest here
const BOOK = `simple-diffusion ${new URL(self.registration.scope).pathname} `;

self.addEventListener("install", () => self.skipWaiting());

// Other sites may keep things under this origin too.
self.addEventListener("activate", (event) => {
  const old = (name) => name.startsWith(BOOK) && name !== BOOK + EDITION;
  const remove = async () => Promise.all((await caches.keys()).filter(old).map((name) => caches.delete(name)));
  event.waitUntil(remove());
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(self.registration.scope)) return;
  const kept = async (error) => {
    // Another version of a file is better than none.
    for (const ignoreSearch of [false, true]) {
      const found = await caches.match(event.request, { cacheName: BOOK + EDITION, ignoreSearch });
      if (found) return found;
    }
    throw error;
  };
  event.respondWith(fetch(event.request).catch(kept));
});
