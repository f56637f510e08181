// The bell curve, where a rising function crosses zero, histograms, mean and deviation.

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

/** Return the share of numbers in each bin between neighbouring `edges`. */
export function histogram(numbers, edges) {
  const below = edges.map((edge) => numbers.filter((number) => number < edge).length);
  return below.slice(1).map((count, i) => (count - below[i]) / numbers.length);
}

/** Return what noise makes of it: `signal` shrinks every number, a bell as wide as `noise` blurs. */
export function blurredHistogram(numbers, signal, noise, edges) {
  const counts = new Map();
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
  const below = edges.map((edge) => {
    let sum = 0;
    for (const [number, count] of counts) {
      sum += count * normalCdf((edge - signal * number) / Math.max(noise, 1e-9));
    }
    return sum / numbers.length;
  });
  return below.slice(1).map((share, i) => share - below[i]);
}

/** Return mean and standard deviation. */
export function moments(numbers) {
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const mean = average(numbers);
  return [mean, Math.sqrt(average(numbers.map((number) => (number - mean) ** 2)))];
}
