// Chapter 12 for the easel: draws on from a picture, and fills a hole in it.

import { gaussianNoise } from "./noise.js";

// The shares of ten classes, and at the end of any class.
export const ANY_CLASS = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/**
 * Yield the states of `n` pictures after each step, as `redraw` of chapter 12 walks them, or
 * `inpainting` where there is a hole; outside of it the last state is the given picture itself.
 *
 * @param {function} call asks the network: `call(images, n, level, nextLevel, shares)`
 * @param {Float32Array} picture numbers in [-1, 1]
 * @param {Uint8Array} [hole] for each pixel, 1 where is to be drawn
 * @param {number} level the noise level to begin at
 * @param {number[]} shares how much of each class is asked for, eleven numbers
 */
export async function* edit(call, { picture, hole, level, steps, n, seed, shares, guidance }) {
  const fresh = (t) => gaussianNoise(n, picture.length, seed, 0, t);
  const given = repeat(picture, n);
  const channels = hole ? picture.length / hole.length : 1;
  const inHole = (i) => hole[Math.floor((i % picture.length) / channels)];
  let state = renoise(given, level, fresh(0));
  for (let t = 0; t < steps; t++) {
    const [a, s] = [t, t + 1].map((step) => level * (1 - step / steps));
    // With a hole the network is asked for the clean picture, and fresh noise leads to the next level.
    const next = await askGuided(call, state, n, [a, hole ? 0 : s], shares, guidance);
    state = hole ? renoise(next.map((x, i) => (inHole(i) ? x : given[i])), s, fresh(t + 1)) : next;
    yield state;
  }
}

/** Ask for the classes and for any class, in one call, and go on from the second to the first. */
async function askGuided(call, state, n, levels, shares, guidance) {
  if (guidance === 1 || shares.at(-1) === 1) return call(state, n, ...levels, repeat(shares, n));
  const both = [...repeat(shares, n), ...repeat(ANY_CLASS, n)];
  const answers = await call(repeat(state, 2), 2 * n, ...levels, both);
  const weak = answers.subarray(state.length);
  return weak.map((x, i) => x + guidance * (answers[i] - x));
}

/** Return clean pictures at the level `s`, by fresh noise; see `renoise` of chapter 9. */
function renoise(clean, s, noise) {
  return clean.map((x, i) => (1 - s) * x + s * noise[i]);
}

function repeat(numbers, n) {
  const all = new Float32Array(n * numbers.length);
  for (let i = 0; i < n; i++) all.set(numbers, i * numbers.length);
  return all;
}
