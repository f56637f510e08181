// The sheet of the easel: a small picture, and a hole in it, both changed by a hand.

import { drawNumbers } from "./pixels.js";

export const SIDE = 32;
const ALIKE = 0.15; // how far colours may differ, of numbers in [-1, 1], that are filled together

const SKETCH = [ // colour, and left, top, right and bottom: a car for those who begin
  ["#9fc5e8", 0, 0, 32, 19],
  ["#7d7d7d", 0, 19, 32, 32],
  ["#c62828", 8, 9, 22, 15],
  ["#d7e8f5", 10, 11, 20, 15],
  ["#c62828", 3, 15, 29, 22],
  ["#181818", 6, 20, 12, 25],
  ["#181818", 20, 20, 26, 25],
];

/** Return a sheet: numbers in [-1, 1] of white paper, and no hole. */
export function emptySheet() {
  return { picture: new Float32Array(3 * SIDE * SIDE).fill(1), hole: new Uint8Array(SIDE * SIDE) };
}

/** Return a sheet with a simple car on it. */
export function sketchedSheet() {
  const sheet = emptySheet();
  for (const [colour, left, top, right, bottom] of SKETCH) {
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) setColour(sheet.picture, y * SIDE + x, colour);
    }
  }
  return sheet;
}

/** Let a tool change these pixels of a sheet. */
export function apply({ picture, hole }, pixels, tool, colour) {
  for (const pixel of pixels) {
    if (tool === "hole" || tool === "close") hole[pixel] = Number(tool === "hole");
    else setColour(picture, pixel, tool === "eraser" ? "#ffffff" : colour);
  }
}

/** Return the pixels that a square brush, `size` wide, covers on its way from one place to another. */
export function covered([x0, y0], [x1, y1], size) {
  const pixels = new Set();
  const steps = Math.max(1, Math.abs(x1 - x0), Math.abs(y1 - y0));
  const corner = Math.floor((size - 1) / 2);
  for (let step = 0; step <= steps; step++) {
    const [x, y] = [x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps].map(Math.round);
    for (let i = 0; i < size * size; i++) {
      const [column, row] = [x - corner + (i % size), y - corner + Math.floor(i / size)];
      if (isInside(column, row)) pixels.add(row * SIDE + column);
    }
  }
  return pixels;
}

/** Return the pixels around a place that hang together and are about as coloured as it is. */
export function flooded(picture, [x, y]) {
  if (!isInside(x, y)) return new Set();
  const alike = (pixel) =>
    [0, 1, 2].every((i) => Math.abs(picture[3 * pixel + i] - picture[3 * (y * SIDE + x) + i]) <= ALIKE);
  const pixels = new Set([y * SIDE + x]);
  for (const pixel of pixels) { // which grows on the way
    const [column, row] = [pixel % SIDE, Math.floor(pixel / SIDE)];
    for (const [across, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      const next = pixel + down * SIDE + across;
      if (isInside(column + across, row + down) && alike(next)) pixels.add(next);
    }
  }
  return pixels;
}

/** Draw a sheet `width` wide, the hole hatched, and a frame around the place of the keyboard, if any. */
export function paintSheet(context, width, { picture, hole }, cursor) {
  drawNumbers(context, picture, 0, 0, width);
  const cell = width / SIDE;
  context.strokeStyle = "#181818";
  hole.forEach((open, pixel) => {
    if (!open) return;
    const [x, y] = [cell * (pixel % SIDE), cell * Math.floor(pixel / SIDE)];
    context.fillStyle = "#ffffffb0";
    context.fillRect(x, y, cell, cell);
    context.beginPath();
    context.moveTo(x, y + cell);
    context.lineTo(x + cell, y);
    context.stroke();
  });
  if (!cursor) return;
  const [x, y] = cursor.map((at) => cell * at);
  // Seen on dark and on light.
  for (const [colour, line] of [["#ffffff", 5], ["#181818", 2]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: line });
    context.strokeRect(x, y, cell, cell);
  }
}

function isInside(x, y) {
  return Math.min(x, y) >= 0 && Math.max(x, y) < SIDE;
}

function setColour(picture, pixel, colour) {
  for (let i = 0; i < 3; i++) picture[3 * pixel + i] = parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16) / 127.5 - 1;
}
