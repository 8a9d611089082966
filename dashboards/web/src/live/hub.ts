/** The live data of one page view: a connection, a store, and one notice per animation frame that has something new. */

import { BROWSER, Connection, type ConnectionState, type Surroundings, type Wanted } from "./connection";
import type { AlertRecord, Frame } from "./frames";
import { measurePaint } from "./paint";
import { LiveStore } from "./store";

export class Hub {
  readonly store = new LiveStore();
  readonly #connection: Connection;
  readonly #listeners = new Set<() => void>();
  #state: ConnectionState = { kind: "connecting" };
  /** When the oldest frame arrived that is not on the screen yet. */
  #arrivedAt: number | null = null;
  /** Whether everything was sent anew: to make a picture of it is no update. */
  #isFirst = false;
  #scheduled = false;

  constructor(
    wanted: Wanted,
    private readonly onAlert: (alert: AlertRecord) => void,
    private readonly around: Surroundings = BROWSER,
  ) {
    this.#connection = new Connection(wanted, around, {
      state: (state) => {
        this.#state = state;
        this.#schedule();
      },
      frame: (frame) => this.#take(frame),
    });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  start(): void {
    this.#connection.start();
  }

  stop(): void {
    this.#connection.stop();
    this.#listeners.clear();
  }

  retryNow(): void {
    this.#connection.retryNow();
  }

  /** `listener` is called within an animation frame; answers how to end it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #take(frame: Frame): void {
    const alert = this.store.apply(frame, this.around.now());
    if (alert) this.onAlert(alert);
    if (frame.event === "metrics" && frame.initial) this.#isFirst = true;
    // A page in the background paints nothing: there is nothing to measure.
    if (document.hidden || this.#isFirst) this.#arrivedAt = null;
    else if (isUpdate(frame)) this.#arrivedAt ??= performance.now();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      for (const listener of [...this.#listeners]) listener();
      // What the listeners changed is rendered, charts too, before this frame is painted.
      if (this.#arrivedAt !== null && !document.hidden) measurePaint(this.#arrivedAt);
      this.#arrivedAt = null;
      this.#isFirst = false;
    });
  }
}

/** Whether a frame has something that is painted. */
function isUpdate(frame: Frame): boolean {
  return frame.event === "metrics" || frame.event === "messages" || frame.event === "alert";
}
