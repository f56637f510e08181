// What the theme's buttons do; their own onclick attributes are forbidden by the pages' policy.
document.addEventListener("click", ({ target }) => {
  const does = target.closest("[data-does]")?.dataset.does;
  if (does) window[does]();
});
