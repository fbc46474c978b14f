// Stands in for a tool's service worker while its person does not get through. It answers nothing, so
// that pages come from the network again, which is where the sign-in is. Storage, caches and the pages
// that are open stay as they are.
addEventListener("install", () => skipWaiting());

// Each page that is opened asks for the tool's own worker. Browsers do so by themselves, but Chromium
// not for a worker that listens to no fetch.
addEventListener("fetch", (event) => {
  if (event.request.mode === "navigate") event.waitUntil(registration.update().catch(() => {}));
});
