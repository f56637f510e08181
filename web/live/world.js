// The worlds: every `<div data-live-world="bending-path"></div>` becomes what the module
// worlds/bending-path.js makes of it by its function `mount(root)`.

for (const root of document.querySelectorAll("[data-live-world]")) {
  const { mount } = await import(`./worlds/${root.dataset.liveWorld}.js`);
  root.replaceChildren();
  mount(root);
}
