// The cars that the book's network drew when the site was built: recorded/cars.png, side by side.

const SIDE = 32;

/** Return the recorded cars, each as 32 × 32 × 3 numbers in [-1, 1]; fails where they do not come. */
export async function recordedCars() {
  const strip = new Image();
  strip.src = new URL("recorded/cars.png", import.meta.url);
  await strip.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [strip.naturalWidth, SIDE];
  const context = canvas.getContext("2d");
  context.drawImage(strip, 0, 0);
  return Array.from({ length: canvas.width / SIDE }, (_, i) => {
    const rgba = context.getImageData(i * SIDE, 0, SIDE, SIDE).data;
    return Float32Array.from(rgba.filter((_, j) => j % 4 < 3)).map((value) => value / 127.5 - 1);
  });
}
