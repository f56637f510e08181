// Numbers to pixels, and pixels to a grid of pictures.

/** Turn numbers around [-1, 1] into RGBA pixels, as `denormalize` does: scaled, rounded, clipped. */
export function toPixels(numbers) {
  // This array rounds halves to even and clips to [0, 255] by itself.
  const pixels = new Uint8ClampedArray((numbers.length / 3) * 4).fill(255);
  for (let i = 0; i < numbers.length; i++) {
    pixels[Math.floor(i / 3) * 4 + (i % 3)] = (numbers[i] + 1) * 127.5;
  }
  return pixels;
}

/** Draw one square picture of numbers around [-1, 1] on a canvas, `size` wide, every pixel sharp. */
export function drawNumbers(context, numbers, x, y, size) {
  const side = Math.sqrt(numbers.length / 3);
  const small = document.createElement("canvas");
  [small.width, small.height] = [side, side];
  small.getContext("2d").putImageData(new ImageData(toPixels(numbers), side), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, x, y, size, size);
}

/** Read the part of an image that `crop` names, as side × side pixels of three numbers in [-1, 1]. */
export function readNumbers(image, side, crop) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [side, side];
  const context = small.getContext("2d");
  context.fillStyle = "white"; // behind transparent pictures
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, ...crop, 0, 0, side, side);
  const rgba = context.getImageData(0, 0, side, side).data;
  return Float32Array.from(rgba.filter((_, i) => i % 4 < 3)).map((value) => value / 127.5 - 1);
}

/** Draw square RGBA pictures on a canvas as a grid, row by row, with gaps of one pixel. */
export function drawGrid(canvas, pixels, side) {
  const n = pixels.length / (4 * side * side);
  const columns = Math.ceil(Math.sqrt(n));
  setSize(canvas, columns * (side + 1) - 1, Math.ceil(n / columns) * (side + 1) - 1);
  const context = canvas.getContext("2d");
  for (let i = 0; i < n; i++) {
    const picture = pixels.subarray(i * 4 * side * side, (i + 1) * 4 * side * side);
    const [column, row] = [i % columns, Math.floor(i / columns)];
    context.putImageData(new ImageData(picture, side), column * (side + 1), row * (side + 1));
  }
}

/** Give a canvas its size in pixels (which clears it), and on the page the largest that fits. */
export function setSize(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  fit(canvas);
}

/** Show every pixel as a square of whole screen pixels, as large as the box around it allows. */
export function fit(canvas) {
  const room = Math.min(canvas.parentElement.clientWidth, 396) * devicePixelRatio;
  const longest = Math.max(canvas.width, canvas.height);
  const scale = Math.max(1, Math.floor(room / longest)) / devicePixelRatio;
  canvas.style.width = `${canvas.width * scale}px`;
  canvas.style.height = `${canvas.height * scale}px`;
}
