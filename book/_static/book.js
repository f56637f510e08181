// What the theme's buttons do; their own onclick attributes are forbidden by the pages' policy.
document.addEventListener("click", ({ target }) => {
  const does = target.closest("[data-does]")?.dataset.does;
  if (does) window[does]();
});

// The frames of a slider come when it comes near.
const near = new IntersectionObserver((sliders) => {
  for (const { isIntersecting, target } of sliders) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    for (const frame of target.dataset.frames.split(" ")) new Image().src = frame;
  }
}, { rootMargin: "100%" });

// Where a formula is wider than the page, the keyboard must be able to scroll it too.
const widths = new ResizeObserver((formulas) => {
  for (const { target } of formulas) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
document.addEventListener("DOMContentLoaded", () => {
  for (const slider of document.querySelectorAll("[data-frames]")) near.observe(slider);
  for (const formula of document.querySelectorAll("mjx-container[display]")) widths.observe(formula);
});
