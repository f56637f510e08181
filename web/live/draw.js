// Lines and words on a canvas, and numbers in a sentence.

/** Draw a line through `points` [x, y]; `dashes` as canvases take them. */
export function stroke(context, points, colour, thickness = 1, dashes = []) {
  Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
  context.setLineDash(dashes);
  context.beginPath();
  for (const point of points) context.lineTo(...point);
  context.stroke();
}

/** Write words at the place [x, y], aligned "left", "center" or "right". */
export function write(context, words, [x, y], align, colour) {
  Object.assign(context, { textAlign: align, fillStyle: colour });
  context.fillText(words, x, y);
}

/** Return a number with its sign, and so many digits behind the point. */
export function signed(value, digits) {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
}

/** Return a share as a percentage. */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
