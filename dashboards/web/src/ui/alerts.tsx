/** Alerts that fired. */

import type { ComponentChildren, JSX } from "preact";
import { textOf } from "../api/types";
import { interval, moment } from "../format";
import type { AlertRecord } from "../live/frames";
import { useAlerts } from "./hooks";
import { Panel, Scroll } from "./panel";

interface AlertsProps {
  title: string;
  alert: string;
  /** What an alert says, in a few words. */
  describe(alert: AlertRecord): ComponentChildren;
  /** When one fires. */
  rule: string;
  height?: number;
}

export function Alerts({ title, alert, describe, rule, height = 260 }: AlertsProps): JSX.Element {
  const alerts = useAlerts(alert);
  return (
    <Panel title={title} class="alerts" note={alerts.length > 0 ? `${alerts.length}` : undefined}>
      {alerts.length === 0 ? (
        <p class="nothing">None lately. {rule}</p>
      ) : (
        <Scroll label={title} height={height}>
          <ol class="feed" aria-live="polite">
            {alerts.map((each) => (
              <li key={each.id}>
                <strong>{Object.values(each.key).map(String).join(", ")}</strong> <span>{describe(each)}</span>
                <small title={`Fired at ${moment(each.fired_at)} UTC`}>
                  {each.window_start === ""
                    ? textOf({ at: each.fired_at }, "at")
                    : interval(each.window_start, each.window_end)}
                </small>
              </li>
            ))}
          </ol>
        </Scroll>
      )}
    </Panel>
  );
}
