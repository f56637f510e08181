// The noise of `diffusion_core.gaussian_noise`, number for number, and two walks between two noises.

/**
 * Return the standard normal noise of pictures `first` to `first + n - 1` of a seed.
 *
 * The hash pcg3d (Jarzynski and Olano 2020) of (seed, picture, pair) gives two uniform numbers;
 * Box and Muller's transform, in float64, turns them into two normal ones.
 *
 * @param {number} n pictures
 * @param {number} size numbers in one picture: height × width × channels
 * @param {number} seed whole number in [0, 2³²)
 * @param {number} step which piece of each picture's row of numbers: 0 is what a drawing starts from
 * @returns {Float32Array} n × size numbers
 */
export function gaussianNoise(n, size, seed, first = 0, step = 0) {
  const before = step * Math.ceil(size / 2);
  const noise = new Float32Array(n * size);
  for (let picture = 0; picture < n; picture++) {
    for (let pair = 0; 2 * pair < size; pair++) {
      const [x, y] = pcg3d(seed, first + picture, before + pair);
      // Adding one keeps the logarithm away from zero.
      const radius = Math.sqrt(-2 * Math.log((x + 1) / 2 ** 32));
      const angle = (2 * Math.PI * y) / 2 ** 32;
      const at = picture * size + 2 * pair;
      noise[at] = radius * Math.cos(angle);
      if (2 * pair + 1 < size) noise[at + 1] = radius * Math.sin(angle);
    }
  }
  return noise;
}

/**
 * Return `cos(share · π/2) · from + sin(share · π/2) · to`, which keeps the variance of noise.
 *
 * @param {number} share of the way, from 0 to 1
 */
export function mixSpherically(from, to, share) {
  // In float32, as NumPy does it in chapter 6.
  const angle = Math.fround(Math.fround(share) * Math.fround(Math.PI)) / 2;
  const [ofFrom, ofTo] = [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))];
  return from.map((value, i) => Math.fround(ofFrom * value) + Math.fround(ofTo * to[i]));
}

/** Return `(1 - share) · from + share · to`: in the middle it has only half the variance. */
export function mixStraight(from, to, share) {
  return from.map((value, i) => (1 - share) * value + share * to[i]);
}

/** Return two of the three hashed integers; all arithmetic wraps at 2³². */
function pcg3d(...counters) {
  let [x, y, z] = counters.map((a) => (Math.imul(a, 1664525) + 1013904223) | 0);
  for (const shift of [true, false]) {
    x = (x + Math.imul(y, z)) | 0;
    y = (y + Math.imul(z, x)) | 0;
    z = (z + Math.imul(x, y)) | 0;
    if (shift) [x, y, z] = [x, y, z].map((a) => a ^ (a >>> 16));
  }
  return [x >>> 0, y >>> 0];
}
