/** Boxes that a view is made of, and what they say when they are empty. */

import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import type { RequestFailed } from "../api/client";
import { clock } from "../format";
import { useEmpty, type Fetched } from "./hooks";

interface PanelProps {
  title: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

export function Panel(props: PanelProps): JSX.Element {
  const title = useId();
  return (
    <section class={`panel ${props.class ?? ""}`} aria-labelledby={title}>
      <header class="panel-head">
        <h2 id={title}>{props.title}</h2>
        {props.note !== undefined && <span class="note">{props.note}</span>}
        {props.actions !== undefined && <span class="actions">{props.actions}</span>}
      </header>
      {props.children}
    </section>
  );
}

/** A part of a panel that scrolls, reachable by keyboard: no landmark, for the panel around it is one. */
export function Scroll({
  label,
  height,
  children,
}: {
  label: string;
  height: number;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div class="scroll" style={{ maxHeight: `${height}px` }} tabIndex={0} role="group" aria-label={label}>
      {children}
    </div>
  );
}

export function Nothing({ children }: { children: ComponentChildren }): JSX.Element {
  return <p class="nothing">{children}</p>;
}

/** Said where a view has no rows: the text, when it is known that it has none. */
export function NoRows({ view, children }: { view: string; children: string }): JSX.Element {
  return <Nothing>{useEmpty(view, children)}</Nothing>;
}

/** Said above what was fetched and cannot be fetched now. */
export function FromBefore({
  fetched,
}: {
  fetched: Pick<Fetched<unknown>, "data" | "at" | "failed">;
}): JSX.Element | null {
  const { data, at, failed } = fetched;
  if (data === null || failed === null) return null;
  return (
    <p class="note warning" role="status">
      As of {clock(at, true)} UTC, cannot be read now: {failed.message}
    </p>
  );
}

/** Said when something could not be fetched. */
export function Failed(props: { failed: RequestFailed; retry(): void; what?: string }): JSX.Element {
  const { failed, retry, what } = props;
  return (
    <p class="nothing">
      {what !== undefined && `${what} `}
      {failed.message}{" "}
      <button type="button" class="quiet" onClick={retry}>
        Try again
      </button>
    </p>
  );
}

/** One number that matters. */
export function Fact(props: {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: string;
}): JSX.Element {
  return (
    <div class="fact">
      <dt>{props.name}</dt>
      <dd class={props.tone}>
        {props.value}
        {props.note !== undefined && <small>{props.note}</small>}
      </dd>
    </div>
  );
}

export function Facts({ children }: { children: ComponentChildren }): JSX.Element {
  return <dl class="facts">{children}</dl>;
}
