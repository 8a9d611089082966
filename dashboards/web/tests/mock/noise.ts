/** Numbers that look like data and are the same in every run. */

/** A number from 0 to 1 that follows from the text alone. */
export function chance(text: string): number {
  let hash = 2_166_136_261;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 16_777_619);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 2_246_822_507);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 3_266_489_909);
  return ((hash ^ (hash >>> 16)) >>> 0) / 4_294_967_296;
}

/** A curve from −1 to 1 over time, its own for each name. */
export function wave(name: string, at: number, periodMs: number): number {
  const phase = chance(`${name} phase`) * 2 * Math.PI;
  const turn = (2 * Math.PI * at) / periodMs;
  const slow = Math.sin(turn + phase);
  const quick = Math.sin(turn * 3.7 + phase * 2.3);
  const rough = chance(`${name} ${at}`) * 2 - 1;
  return 0.62 * slow + 0.23 * quick + 0.15 * rough;
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** One of a list, by chance. */
export function pick<T>(list: readonly T[], text: string): T {
  const found = list[Math.floor(chance(text) * list.length)];
  if (found === undefined) throw new Error("an empty list");
  return found;
}
