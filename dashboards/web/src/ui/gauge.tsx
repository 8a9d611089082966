/** A half circle from −1 to 1 with a needle. */

import type { JSX } from "preact";
import { sentimentName, signed } from "../format";

const RADIUS = 84;
const [CENTRE_X, CENTRE_Y] = [110, 104];

/** The point of a half circle at a value from −1 (left) to 1 (right). */
export function gaugePoint(value: number, radius: number): [number, number] {
  const angle = Math.PI * (1 - (Math.min(1, Math.max(-1, value)) + 1) / 2);
  return [CENTRE_X + radius * Math.cos(angle), CENTRE_Y - radius * Math.sin(angle)];
}

function arc(from: number, to: number): string {
  const [x0, y0] = gaugePoint(from, RADIUS);
  const [x1, y1] = gaugePoint(to, RADIUS);
  return `M${x0.toFixed(2)} ${y0.toFixed(2)}A${RADIUS} ${RADIUS} 0 0 1 ${x1.toFixed(2)} ${y1.toFixed(2)}`;
}

/** The zones as VADER names them, and the needle at the value. */
export function Gauge({ value, label }: { value: number | null; label: string }): JSX.Element {
  const [tipX, tipY] = gaugePoint(value ?? 0, RADIUS - 16);
  const name = sentimentName(value);
  return (
    <svg class="gauge" viewBox="0 0 220 136" role="img" aria-label={`${label}: ${signed(value)}, ${name}`}>
      <path class="negative" d={arc(-1, -0.05)} />
      <path class="neutral" d={arc(-0.05, 0.05)} />
      <path class="positive" d={arc(0.05, 1)} />
      {value !== null && (
        <>
          <line class="needle" x1={CENTRE_X} y1={CENTRE_Y} x2={tipX} y2={tipY} />
          <circle class="hub" cx={CENTRE_X} cy={CENTRE_Y} r="5" />
        </>
      )}
      <text class="end" x={CENTRE_X - RADIUS} y={CENTRE_Y + 18}>
        −1
      </text>
      <text class="end" x={CENTRE_X + RADIUS} y={CENTRE_Y + 18}>
        +1
      </text>
      <text class="reading" x={CENTRE_X} y={CENTRE_Y + 28}>
        {signed(value)}
      </text>
    </svg>
  );
}
