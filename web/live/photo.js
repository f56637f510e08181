// Picture files of the reader's: looked at before they are decoded, shrunk here, and sent nowhere.

import { drawNumbers, enlarge, readNumbers } from "./pixels.js";

const ENLARGED = 8; // pixels of a saved picture for each that was drawn
const MOST_BYTES = 30e6;
const MOST_PIXELS = 64e6; // a phone's picture has up to 50 million
const UNREADABLE = "This file is not a picture that the browser can read. Try PNG or JPEG.";

/** Call `take(file)` with a file that is chosen in an input, or dropped on a box. */
export function onFile(box, input, take) {
  input.addEventListener("change", async () => {
    if (input.files.length) await take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  box.addEventListener("dragover", (event) => event.preventDefault());
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

/** Save a square picture of numbers around [-1, 1] as PNG. */
export function savePicture(numbers, side, name) {
  const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
  drawNumbers(small.getContext("2d"), numbers, 0, 0, side);
  const link = document.createElement("a");
  link.href = enlarge(small, ENLARGED).toDataURL("image/png");
  link.download = `${name}.png`;
  link.click();
}

/** Return the middle of a picture file as side × side × 3 numbers in [-1, 1]; throws a sentence. */
export async function readPhoto(file, side) {
  if (file.size === 0) throw new Error("This file is empty. Try another one.");
  if (file.size > MOST_BYTES) {
    throw new Error(`This file has ${millions(file.size)} MB; expected at most ${millions(MOST_BYTES)} MB.`);
  }
  const sides = await file.arrayBuffer().then(sidesOf).catch(() => undefined);
  if (!sides) throw new Error("This file is not a picture in PNG, JPEG, GIF or WebP; expected one of these.");
  const [width, height] = sides;
  if (width * height > MOST_PIXELS) {
    const most = `expected at most ${millions(MOST_PIXELS)} million pixels`;
    throw new Error(`This picture has ${width} × ${height} pixels; ${most}. Make it smaller first.`);
  }
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(UNREADABLE);
  });
  const square = Math.min(image.width, image.height); // turned as the camera was held
  const crop = [(image.width - square) / 2, (image.height - square) / 2, square, square];
  const numbers = readNumbers(image, side, crop);
  image.close();
  return numbers;
}

/** Return width and height as the header of a file has them, or none where it is no known kind. */
function sidesOf(buffer) {
  const view = new DataView(buffer);
  const text = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (text(0) === "\x89PNG") return [view.getUint32(16), view.getUint32(20)];
  if (text(0) === "GIF8") return [view.getUint16(6, true), view.getUint16(8, true)];
  if (text(0) === "RIFF" && text(8) === "WEBP") return sidesOfWebP(view, text(12));
  return view.getUint16(0) === 0xffd8 ? sidesOfJPEG(view) : undefined;
}

function sidesOfWebP(view, kind) {
  if (kind === "VP8X") return [24, 27].map((at) => 1 + (view.getUint32(at, true) & 0xffffff));
  if (kind === "VP8L") return [0, 14].map((bits) => 1 + ((view.getUint32(21, true) >>> bits) & 0x3fff));
  return [26, 28].map((at) => view.getUint16(at, true) & 0x3fff);
}

/** Go from marker to marker, up to the one that begins a frame. */
function sidesOfJPEG(view) {
  for (let at = 2; ; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint16(at);
    // Of these three in the row one holds tables, one is kept for later, and one sets a coder up.
    const frame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (frame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
    if (marker < 0xffc0) return undefined;
  }
}

function millions(count) {
  return Math.ceil(count / 1e6);
}
