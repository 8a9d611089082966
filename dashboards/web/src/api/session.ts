/**
 * The token that the page sends to a server that wants one (`docs/security.md`): whoever opens the page gives it. It
 * stays in its tab until that is closed, or is signed out of.
 */

import type { Memory } from "../theme";

const KEY = "tideline.token";

/** A JWT in its compact form: three parts of base64url. */
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** The token in what was typed or pasted, with line breaks and `Bearer` or without; null when there is none. */
export function tokenOf(text: string): string | null {
  const token = text.replace(/^\s*bearer\s+/i, "").replace(/\s+/g, "");
  return TOKEN.test(token) ? token : null;
}

export class Session {
  #token: string | null;
  #wanted: string | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(private readonly memory: Memory | null) {
    this.#token = this.#keep((kept) => kept.getItem(KEY));
  }

  get token(): string | null {
    return this.#token;
  }

  /** Why a token is wanted; null while none is. */
  get wanted(): string | null {
    return this.#wanted;
  }

  signIn(token: string): void {
    this.#token = token;
    this.#keep((kept) => kept.setItem(KEY, token));
    this.#want(null);
  }

  signOut(): void {
    this.#forget();
    this.#want("You are signed out.");
  }

  /** The server does not answer what was asked with this token. A token that was given since then may be better. */
  refuse(sent: string | null, why: string): void {
    if (sent !== this.#token || this.#wanted !== null) return;
    this.#forget();
    this.#want(why);
  }

  /** `listener` is called when a token is wanted, and when it is given; answers how to end it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #forget(): void {
    this.#token = null;
    this.#keep((kept) => kept.removeItem(KEY));
  }

  #want(why: string | null): void {
    this.#wanted = why;
    for (const listener of [...this.#listeners]) listener();
  }

  #keep<T>(of: (memory: Memory) => T): T | null {
    try {
      return this.memory === null ? null : of(this.memory);
    } catch {
      // No storage: it is known until the page is loaded again.
      return null;
    }
  }
}

function ofTab(): Memory | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** That of this tab. */
export const SESSION = new Session(ofTab());
