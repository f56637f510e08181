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

/** Write the names of lines in a row from `x` on, a piece of each before it. */
export function legend(context, kinds, x, colour) {
  for (const [name, kind] of Object.entries(kinds)) {
    stroke(context, [[x, 12], [x + 14, 12]], ...kind);
    write(context, name, [x + 18, 16], "left", colour);
    x += context.measureText(name).width + 28;
  }
}

/** Return a number with its sign, and so many digits behind the point. */
export function signed(value, digits) {
  const rounded = value.toFixed(digits);
  return (Number(rounded) < 0 ? "−" : "+") + rounded.replace("-", "");
}

/** Return a share as a percentage. */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
