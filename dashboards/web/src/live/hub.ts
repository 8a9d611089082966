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
  #scheduled = false;

  constructor(
    wanted: Wanted,
    private readonly onAlert: (alert: AlertRecord) => void,
    around: Surroundings = BROWSER,
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
    const alert = this.store.apply(frame);
    if (alert) this.onAlert(alert);
    // A page in the background paints nothing: there is nothing to measure.
    if (document.hidden) this.#arrivedAt = null;
    else this.#arrivedAt ??= performance.now();
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
    });
  }
}
