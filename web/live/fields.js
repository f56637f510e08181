// What a cell of the U sees, and what it can change: from the sizes of the floors alone.

// Picture, blocks and direction, and how many convolutions of 3 × 3 each block holds.
export const FLOORS = [
  { name: "image", side: 32, from: [], convolutions: 0 },
  { name: "down_1_1", side: 16, from: ["image"], convolutions: 2 },
  { name: "down_2_1", side: 8, from: ["down_1_1"], convolutions: 2 },
  { name: "middle_1", side: 4, from: ["down_2_1"], convolutions: 2 },
  { name: "middle_2", side: 4, from: ["middle_1"], convolutions: 2 },
  { name: "up_2_1", side: 8, from: ["middle_2", "down_2_1"], convolutions: 2 },
  { name: "up_1_1", side: 16, from: ["up_2_1", "down_1_1"], convolutions: 2 },
  { name: "direction", side: 32, from: ["up_1_1"], convolutions: 0 },
];
export const floorOf = (name) => FLOORS.find((floor) => floor.name === name);

/** Return the cells of one floor that lie over cells [low, high] of another, in one dimension. */
function carry([low, high], from, to) {
  return [Math.floor((low * to) / from), Math.ceil(((high + 1) * to) / from) - 1];
}

/** Return [low, high] with the neighbours that the convolutions of a floor reach. */
function widen([low, high], { side, convolutions }) {
  return [Math.max(0, low - convolutions), Math.min(side - 1, high + convolutions)];
}

/** Add an interval to those that are known; of two ways to a floor, one always holds the other. */
function join(known, name, [low, high]) {
  const [lowest, highest] = known[name] ?? [low, high];
  known[name] = [Math.min(low, lowest), Math.max(high, highest)];
}

/** Return for every floor the rows (or columns) [low, high] that row `at` of a floor depends on. */
export function sees(name, at) {
  const known = { [name]: [at, at] };
  for (const floor of [...FLOORS].reverse()) {
    if (!known[floor.name]) continue;
    const needed = widen(known[floor.name], floor);
    for (const from of floor.from) join(known, from, carry(needed, floor.side, floorOf(from).side));
  }
  return known;
}

/** Return for every floor the rows (or columns) [low, high] that depend on row `at` of a floor. */
export function changes(name, at) {
  const known = { [name]: [at, at] };
  for (const floor of FLOORS) {
    for (const from of floor.from.filter((from) => known[from])) {
      join(known, floor.name, widen(carry(known[from], floorOf(from).side, floor.side), floor));
    }
  }
  return known;
}
