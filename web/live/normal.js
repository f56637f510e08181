// The bell curve, and where a rising function crosses zero.

/**
 * Return the share of standard normal noise below x.
 *
 * Marsaglia's series (2004, Evaluating the Normal Distribution), to about the last digit.
 */
export function normalCdf(x) {
  if (Math.abs(x) > 8) return x > 0 ? 1 : 0;
  let sum = x;
  for (let term = x, k = 3; Math.abs(term) > 1e-17; k += 2) sum += term *= (x * x) / k;
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/** Return where a function that never falls goes from below zero to above, by halving. */
export function crossing(rising, low, high) {
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2;
    if (rising(middle) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
