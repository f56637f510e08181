// A hand on a canvas of small squares: by mouse, touch, pen and keyboard.

import { SIDE } from "./sheet.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Call `draw(place, begins)` with the square [column, row] under the hand, also outside the canvas,
 * and `look(place)` while the arrow keys are in use; the space bar draws there while it is held.
 */
export function onHand(canvas, draw, look) {
  let hand; // the pointer that draws; a second finger does not
  let cursor = [SIDE / 2, SIDE / 2];
  let held = false;
  canvas.style.touchAction = "none";

  function place({ clientX, clientY }) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height].map((share) => Math.floor(share * SIDE));
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (hand !== undefined || event.button !== 0) return;
    hand = event.pointerId;
    canvas.setPointerCapture(hand);
    look();
    draw(place(event), true);
  });
  canvas.addEventListener("pointermove", (event) => event.pointerId === hand && draw(place(event), false));
  canvas.addEventListener("lostpointercapture", () => (hand = undefined));

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key === " " || event.key in ARROWS)) return;
    event.preventDefault(); // or the page scrolls
    if (event.key === " ") {
      if (!held) draw(cursor, true);
      held = true;
      return;
    }
    cursor = cursor.map((at, i) => Math.min(SIDE - 1, Math.max(0, at + ARROWS[event.key][i])));
    if (held) draw(cursor, false);
    look(cursor);
  });
  canvas.addEventListener("keyup", (event) => event.key === " " && (held = false));
  canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && look(cursor));
  canvas.addEventListener("blur", () => {
    held = false;
    look();
  });
}
