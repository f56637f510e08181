// The worlds of two pixels, where the mean of all clean pictures is a formula (chapters 8, 9, 11).
//
// Points stand one after the other in a Float64Array: first pixel, second pixel, first, second …

const POINTS = 201;

/** The curve: points (0.8 u, 0.6 sin 4u), u from -1 to 1. Pictures are small clouds around them. */
export const CURVE = Float64Array.from({ length: 2 * POINTS }, (_, i) => {
  const u = (2 * (i >> 1)) / (POINTS - 1) - 1;
  return i % 2 ? 0.6 * Math.sin(4 * u) : 0.8 * u;
});

/**
 * Return the mean of all clean pictures that may have become the points `x`, noised to level `a`.
 *
 * Each of `middles` is the middle of a Gaussian cloud, equally likely, so the mean is a closed
 * form: the middles by their shares, and a part of the way towards `x` (chapter 8).
 *
 * @param {Float64Array} x points
 * @param {number} a noise level, from above 0 to 1
 * @param {number} width of the clouds, their standard deviation
 */
export function cleanGuess(x, a, width, middles = CURVE) {
  const signal = 1 - a;
  const spread = (signal * width) ** 2 + a ** 2;
  const inside = (signal * width ** 2) / spread;
  const away = new Float64Array(middles.length / 2);
  const guess = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += 2) {
    let least = Infinity;
    for (let i = 0; i < away.length; i++) {
      const right = x[at] - signal * middles[2 * i];
      const up = x[at + 1] - signal * middles[2 * i + 1];
      away[i] = (right * right + up * up) / (2 * spread);
      least = Math.min(least, away[i]);
    }
    let [total, first, second] = [0, 0, 0];
    for (let i = 0; i < away.length; i++) {
      if (away[i] > least + 40) continue; // its share is below the rounding of the largest
      const share = Math.exp(least - away[i]);
      total += share;
      first += share * middles[2 * i];
      second += share * middles[2 * i + 1];
    }
    const outside = (1 - inside * signal) / total;
    guess[at] = inside * x[at] + outside * first;
    guess[at + 1] = inside * x[at + 1] + outside * second;
  }
  return guess;
}

/** Return how far each point lies from the curve, or other points, and which one is the nearest. */
export function toCurve(x, middles = CURVE) {
  const found = { distances: [], nearest: [] };
  for (let at = 0; at < x.length; at += 2) {
    let [least, which] = [Infinity, 0];
    for (let i = 0; i < middles.length / 2; i++) {
      const away = Math.hypot(x[at] - middles[2 * i], x[at + 1] - middles[2 * i + 1]);
      if (away < least) [least, which] = [away, i];
    }
    found.distances.push(least);
    found.nearest.push(which);
  }
  return found;
}

/** Return the mean distance of points from others, one by one. */
export function meanMiss(x, y) {
  let sum = 0;
  for (let at = 0; at < x.length; at += 2) sum += Math.hypot(x[at] - y[at], x[at + 1] - y[at + 1]);
  return sum / (x.length / 2);
}

/** Return `p · x + q · y`. */
export const mix = (p, x, q, y) => x.map((value, i) => p * value + q * y[i]);

/** Return the state at level `s` on the straight way from `x`, at level `a`, to a clean guess. */
export const walk = (x, clean, a, s) => mix(s / a, x, 1 - s / a, clean);

/** Return points at level `a` at the higher level `b`, by fresh noise. */
export function renoise(x, a, b, noise) {
  if (a === b) return x;
  const share = (1 - b) / (1 - a);
  return mix(share, x, Math.sqrt(Math.max(0, b ** 2 - (share * a) ** 2)), noise);
}

/** Return `[a, s, t]` of every step: from level `a` down to `s`, which is state `t`. */
export const evenSteps = (steps) =>
  Array.from({ length: steps }, (_, t) => [1 - t / steps, 1 - (t + 1) / steps, t + 1]);

export const mean = (values) => values.reduce((sum, value) => sum + value) / values.length;
