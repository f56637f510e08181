// What the worlds share: a canvas that fits its column and wears the colours of the page.

/**
 * Keep a canvas painted: now, when its column gets another width, and when the page turns dark.
 *
 * @param {number} shape height over width
 * @param {function} paint called as `paint(context, width, height, colours)`, in CSS pixels
 * @returns {function} paints again, after something else has changed
 */
export function keepPainted(canvas, shape, paint) {
  const repaint = () => {
    const width = canvas.parentElement.clientWidth;
    const height = Math.round(width * shape);
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const context = canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    context.font = `13px ${getComputedStyle(canvas).fontFamily}`;
    paint(context, width, height, colours(canvas));
  };
  new ResizeObserver(repaint).observe(canvas.parentElement);
  const page = document.documentElement;
  new MutationObserver(repaint).observe(page, { attributeFilter: ["data-theme"] });
  return repaint;
}

/** Call `move(x, y)`, both from 0 to 1, right and down, while a mouse, pen or finger drags. */
export function onDrag(canvas, move) {
  canvas.style.touchAction = "none";
  const follow = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const share = (value) => Math.min(1, Math.max(0, value));
    move(share((event.clientX - left) / width), share((event.clientY - top) / height));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    follow(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && follow(event));
}

/** Return the colours of the page as it is now, light or dark. */
function colours(element) {
  const style = getComputedStyle(element);
  const names = ["text-base", "text-muted", "border", "background", "surface", "primary"];
  const found = names.map((name) => style.getPropertyValue(`--pst-color-${name}`).trim());
  const [text, muted, line, background, surface, primary] = found;
  // These are told apart by every eye, on white and on black (Okabe and Ito's palette).
  const [first, second, third] = ["#0072b2", "#d55e00", "#009e73"];
  return { text, muted, line, background, surface, primary, first, second, third };
}
