/** Alerts that fired. */

import type { ComponentChildren, JSX } from "preact";
import { textOf } from "../api/types";
import { interval, moment } from "../format";
import type { AlertRecord } from "../live/frames";
import { useAlerts } from "./hooks";
import { Failed, Nothing, Panel, Scroll } from "./panel";

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
  const { alerts, loaded, failed, retry } = useAlerts(alert);
  return (
    <Panel title={title} class="alerts" note={alerts.length > 0 ? `${alerts.length}` : undefined}>
      {failed !== null && <Failed failed={failed} retry={retry} what="Alerts cannot be read now:" />}
      {alerts.length === 0 ? (
        // That there is none is known only from the server.
        failed === null && <Nothing>{loaded ? `None lately. ${rule}` : `Not known yet. ${rule}`}</Nothing>
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
