/**
 * Figures first: a chart takes as long as everything else of an update together, so it is painted in the frame after the
 * one that has the figures. Where that one brings figures, too, charts leave it to them, once.
 */

import { measureChart } from "./paint";

/** What is known of the frames of figures. */
const figures: { waiting: boolean; lastFrame: number; arrivedAt: number | null } = {
  waiting: false,
  lastFrame: -1,
  arrivedAt: null,
};

/** Told when figures wait for their frame. */
export function figuresWait(): void {
  figures.waiting = true;
}

/** Told in the frame of figures: its time, and when the oldest of them arrived. */
export function figuresCome(frame: number, arrivedAt: number | null): void {
  figures.waiting = false;
  figures.lastFrame = frame;
  figures.arrivedAt = arrivedAt;
  // What is rendered in this frame is of then; what asks for a picture later, as another theme does, is not.
  setTimeout(() => {
    figures.arrivedAt = null;
  });
}

const queue = new Set<() => void>();
/** When the oldest figure arrived that the charts of the queue show. */
let oldest: number | null = null;
let scheduled = false;
let hasWaited = false;

/** Has a chart painted soon; one that is there already is painted once. */
export function paintLater(paint: () => void): void {
  queue.add(paint);
  oldest ??= figures.arrivedAt;
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(run);
}

export function paintNever(paint: () => void): void {
  queue.delete(paint);
}

function run(frame: number): void {
  if (!hasWaited && (figures.waiting || figures.lastFrame === frame)) {
    hasWaited = true;
    requestAnimationFrame(run);
    return;
  }
  const paints = [...queue];
  const arrivedAt = oldest;
  queue.clear();
  [oldest, scheduled, hasWaited] = [null, false, false];
  for (const paint of paints) paint();
  if (paints.length > 0 && arrivedAt !== null && !document.hidden) measureChart(arrivedAt);
}
