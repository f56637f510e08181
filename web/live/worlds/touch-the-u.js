// Chapter 4, touch the U: what a cell of any floor sees, what it can change, and what skips carry.

import { keepPainted } from "../canvas.js";
import { FLOORS, changes, floorOf, sees } from "../fields.js";

const MARKUP = `
<div class="live-picture"><canvas role="img"></canvas></div>
<div class="live-controls">
  <label class="live-wide">Floor <select>
    ${FLOORS.map(({ name }) => `<option>${name}</option>`).join("")}</select></label>
  <label class="live-wide">Row <span class="live-where"></span><input type="range" min="0"></label>
  <label class="live-wide">Column <span class="live-where"></span><input type="range" min="0"></label>
  <p class="live-status" role="status"></p>
  <label class="live-tick"><input type="checkbox" checked> skip_1 is on</label>
  <label class="live-tick"><input type="checkbox" checked> skip_2 is on</label>
  <label class="live-wide">Picture
    <select><option>drawn car 1</option><option>drawn car 2</option></select></label>
  <p class="live-status" role="status"></p>
</div>`;

export async function mount(root) {
  root.innerHTML = MARKUP;
  const canvas = root.querySelector("canvas");
  const [floor, row, column, skip1, skip2, car] = root.querySelectorAll("input, select");
  const [reach, error] = root.querySelectorAll(".live-status");
  const recorded = (name) => new URL(`../recorded/${name}`, import.meta.url);
  const pictures = new Image();
  pictures.src = recorded("skips.png");
  let errors; // of the direction, by car and by what is switched off
  const cell = () => [Number(row.value), Number(column.value)];
  const off = () => !skip1.checked + 2 * !skip2.checked;
  const paintAll = (...place) => paint(...place, floor.value, cell(), off(), pictures, car.selectedIndex);
  const repaint = keepPainted(canvas, 1.88, paintAll);
  const pick = ({ offsetX, offsetY, buttons }) =>
    buttons && choose(...cellAt(canvas.clientWidth, offsetX, offsetY));
  canvas.addEventListener("pointerdown", pick);
  canvas.addEventListener("pointermove", pick);
  floor.addEventListener("change", () => choose(floor.value, ...cell()));
  for (const input of [row, column, skip1, skip2, car]) input.addEventListener("input", show);
  choose("down_1_1", 7, 7);
  errors = await Promise.all([fetch(recorded("skips.json")).then((answer) => answer.json()), pictures.decode()])
    .then(([found]) => found, () => undefined); // without them, the fields are still there
  show();

  function choose(name, ...places) {
    if (!name) return;
    floor.value = name;
    [row, column].forEach((input, i) => Object.assign(input, { max: floorOf(name).side - 1 }).value = places[i]);
    show();
  }

  function show() {
    for (const input of [row, column]) input.previousElementSibling.textContent = input.value;
    const size = (fields, name) => fields.map((field) => 1 + field[name][1] - field[name][0]).join(" × ");
    const seen = cell().map((at) => sees(floor.value, at));
    const changed = cell().map((at) => changes(floor.value, at));
    const parts = [];
    if (floor.value !== "image") parts.push(`sees ${size(seen, "image")} pixels of the image (blue)`);
    if (floor.value !== "direction") {
      parts.push(`can change ${size(changed, "direction")} pixels of the direction (orange)`);
    }
    reach.textContent = `Row ${row.value}, column ${column.value} of ${floor.value} ${parts.join(" and ")}.`;
    canvas.setAttribute("aria-label", `The network as a letter U of eight floors. ${reach.textContent}`);
    const without = ["all skip connections", "skip_1 off", "skip_2 off", "both skip connections off"][off()];
    const now = errors?.[car.selectedIndex][off()];
    error.textContent = errors ? `With ${without}, the direction errs by ${now.toFixed(3)}.` : "";
    repaint();
  }
}

const LABEL = 24; // the line above a square
const EDGE = 3; // room for the outlines

/** Return the side of the squares on a canvas, and the corner of each: down on the left, up on the right. */
function layout(width) {
  const side = 16 * Math.floor((0.39 * width) / 16); // whole pixels for every cell, on most screens
  const corner = (i) => [i < 4 ? EDGE : width - EDGE - side, LABEL + (side + LABEL) * (i < 4 ? i : 7 - i)];
  return { side, corners: FLOORS.map((_, i) => corner(i)) };
}

function cellAt(width, x, y) {
  const { side, corners } = layout(width);
  const i = corners.findIndex(([left, top]) => x >= left && x < left + side && y >= top && y < top + side);
  if (i < 0) return [];
  const { name, side: cells } = FLOORS[i];
  const [column, row] = corners[i].map((start, axis) => Math.floor((([x, y][axis] - start) / side) * cells));
  return [name, row, column];
}

function paint(context, width, height, colours, picked, cell, off, pictures, car) {
  const { side, corners } = layout(width);
  const fields = [[colours.first, sees], [colours.second, changes]]
    .map(([colour, of]) => [colour, cell.map((at) => of(picked, at))]);
  context.imageSmoothingEnabled = false;
  FLOORS.forEach(({ name, side: cells }, i) => {
    const [left, top] = corners[i];
    const size = side / cells;
    const box = ([rows, columns]) => [left + columns[0] * size, top + rows[0] * size,
      (1 + columns[1] - columns[0]) * size, (1 + rows[1] - rows[0]) * size];
    const whole = [left, top, side, side];
    Object.assign(context, { fillStyle: colours.background, strokeStyle: colours.muted, lineWidth: 0.5 });
    context.fillRect(...whole);
    const shown = { image: 0, direction: 1 + off }[name];
    const isPicture = shown !== undefined && pictures.naturalWidth > 0;
    if (isPicture) context.drawImage(pictures, 32 * shown, 32 * car, 32, 32, ...whole);
    else for (let at = 0; at <= cells; at++) {
      context.strokeRect(left, top + at * size, side, 0);
      context.strokeRect(left + at * size, top, 0, side);
    }
    for (const [colour, field] of fields.filter(([, [rows]]) => rows[name])) {
      const [x, y, wide, high] = box(field.map((known) => known[name]));
      context.fillStyle = `${colour}40`;
      if (!isPicture) context.fillRect(x, y, wide, high);
      // On a wider line of the background, so that it is seen on any picture.
      for (const look of [[colours.background, 6], [colour, 3]]) {
        [context.strokeStyle, context.lineWidth] = look;
        context.strokeRect(x - 1, y - 1, wide + 2, high + 2);
      }
    }
    context.fillStyle = colours.text;
    if (name === picked) context.fillRect(...box(cell.map((at) => [at, at])));
    context.textAlign = i < 4 ? "left" : "right";
    const way = ["", "↓ ", "↓ ", "↓ ", "→ ", "↑ ", "↑ ", "↑ "][i];
    context.fillText(`${way}${name}, ${cells} × ${cells}`, i < 4 ? left : left + side, top - 7);
  });
  for (const skip of [1, 2]) {
    const y = corners[skip][1] + side / 2;
    Object.assign(context, { strokeStyle: colours.text, lineWidth: 2, textAlign: "center" });
    context.setLineDash([6, 4]);
    context.beginPath();
    if (off & skip) {
      context.fillText("off", width / 2, y + 4);
    } else {
      context.moveTo(side + 4, y);
      context.lineTo(width - side - 4, y);
    }
    context.stroke();
    context.setLineDash([]);
    context.fillText(`skip_${skip}`, width / 2, y - 10);
  }
}
