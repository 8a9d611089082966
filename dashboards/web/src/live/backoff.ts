/** How long to wait before something that failed is tried again. */

export interface Backoff {
  firstMs: number;
  mostMs: number;
}

export const RECONNECT: Backoff = { firstMs: 300, mostMs: 15_000 };

/**
 * The pause before attempt `failures + 1`: twice as long each time, up to the most; up to a fifth shorter by chance, so
 * that the pages of a server that restarted do not all come at once. `random` is from 0 to 1.
 */
export function pauseMs(failures: number, random: number, backoff: Backoff = RECONNECT): number {
  const doubled = backoff.firstMs * 2 ** Math.min(Math.max(failures - 1, 0), 20);
  return Math.round(Math.min(doubled, backoff.mostMs) * (1 - 0.2 * random));
}
