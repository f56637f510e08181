// The schedules of chapter 2, at any time and not only at their stops.

import { crossing } from "./statistics.js";

// DDPM's shares of signal, squared: one before its first step and one after each (Ho et al. 2020).
const DDPM = [1];
for (let i = 0; i < 1000; i++) DDPM.push(DDPM[i] * (1 - 1e-4 - ((0.02 - 1e-4) * i) / 999));

/** Return signal and noise of three schedules at the share `t` of the way from noise to clean. */
export const SCHEDULES = {
  linear: (t) => [t, 1 - t],
  cosine(t) {
    const angle = (time) => (((time + 0.008) / 1.008) * Math.PI) / 2;
    const power = (Math.cos(angle(1 - t)) / Math.cos(angle(0))) ** 2;
    return [Math.sqrt(power), Math.sqrt(Math.max(0, 1 - power))];
  },
  DDPM(t) {
    const from = Math.min(999, Math.floor(1000 * (1 - t)));
    const between = 1000 * (1 - t) - from;
    const at = (share) => (1 - between) * share(from) + between * share(from + 1);
    return [at((k) => Math.sqrt(DDPM[k])), at((k) => Math.sqrt(1 - DDPM[k]))];
  },
};

/**
 * Return where a schedule has the proportion of signal to noise that ours has at noise level `a`,
 * as the share of the way; null where it holds more signal everywhere.
 */
export function place(schedule, a) {
  const excess = (t) => {
    const [signal, noise] = SCHEDULES[schedule](t);
    return signal * a - noise * (1 - a);
  };
  return excess(0) > 1e-9 ? null : crossing(excess, 0, 1);
}
