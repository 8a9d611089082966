/** When pictures on a canvas are painted. */

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/**
 * Calls `paint` when one of `inputs` has changed: in the frame that renders the change, so that a chart is on the screen
 * together with the figures beside it. One that is scrolled out of sight is painted once, when it comes back.
 */
export function usePainting(place: RefObject<HTMLElement>, paint: () => void, inputs: readonly unknown[]): void {
  const latest = useRef(paint);
  latest.current = paint;
  const inSight = useRef(true);
  const isDue = useRef(false);
  useLayoutEffect(() => {
    if (!place.current) return undefined;
    const seen = new IntersectionObserver((entries) => {
      inSight.current = entries.at(-1)?.isIntersecting ?? true;
      if (!inSight.current || !isDue.current) return;
      isDue.current = false;
      latest.current();
    });
    seen.observe(place.current);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    isDue.current = !inSight.current;
    if (inSight.current) latest.current();
  }, [...inputs]);
}
