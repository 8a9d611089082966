/** Requests to the HTTP API: bounded in time, and every failure as a {@link RequestFailed}. */

import { SESSION, type Session } from "./session";
import type { Json, ProblemDocument } from "./types";

/** How long one request may take. */
const TIMEOUT_MS = 30_000;

/** A request that was not answered as it should. */
export class RequestFailed extends Error {
  override readonly name = "RequestFailed";

  constructor(
    /** `unknown-view`, `not-published`, …; `unreachable` where no server answered, `unreadable` where it was no JSON. */
    readonly kind: string,
    message: string,
    /** The status of the answer, 0 without one. */
    readonly status: number,
  ) {
    super(message);
  }

  /** Whether no server answered, or one that stands before it and cannot reach it. */
  get unreachable(): boolean {
    return this.kind === "unreachable" || this.status === 502 || this.status === 504;
  }
}

export type Fetch = typeof fetch;

const PREFIX = "urn:tideline:problem:";

function problemOf(document: Json, status: number): RequestFailed {
  const { type, title, detail } = document as Partial<Record<keyof ProblemDocument, Json>>;
  const kind = typeof type === "string" && type.startsWith(PREFIX) ? type.slice(PREFIX.length) : "refused";
  const text = typeof detail === "string" ? detail : typeof title === "string" ? title : `status ${status}`;
  return new RequestFailed(kind, text, status);
}

export interface RequestOptions {
  method?: "GET" | "POST";
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
  fetch?: Fetch;
  /** Whose token is sent, where there is one. */
  session?: Session;
}

/** Asks for JSON. An abort of `signal` is thrown as it is; all else that goes wrong is a {@link RequestFailed}. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return (await answer(path, "application/json", options)).body as T;
}

/** Asks for a document, as text. Fails as {@link request} does. */
export async function requestText(path: string, accept: string, options: RequestOptions = {}): Promise<string> {
  return (await answer(path, accept, options)).text;
}

async function answer(path: string, accept: string, options: RequestOptions): Promise<{ text: string; body: Json }> {
  const ask = options.fetch ?? fetch;
  const session = options.session ?? SESSION;
  const method = options.method ?? "GET";
  const { token } = session;
  const late = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  let response: Response;
  let text: string;
  try {
    response = await ask(path, {
      method,
      headers: token === null ? { accept } : { accept, authorization: `Bearer ${token}` },
      signal,
      cache: "no-store",
    });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new RequestFailed("unreachable", "The server does not answer.", 0);
  }
  if (response.ok && accept !== "application/json") return { text, body: null };
  let body: Json;
  try {
    body = JSON.parse(text) as Json;
  } catch {
    throw new RequestFailed("unreadable", `${path} did not answer JSON (status ${response.status}).`, response.status);
  }
  // The readiness report is an answer also with 503.
  const report = body !== null && typeof body === "object" && !Array.isArray(body) && "checks" in body;
  if (!response.ok && !report) {
    const problem = problemOf(body, response.status);
    if (wantsToken(problem, method)) session.refuse(token, refusalOf(problem));
    throw problem;
  }
  return { text, body };
}

/** Whether nothing can be read without another token. A scope that only changing something needs is no such thing. */
function wantsToken({ kind }: RequestFailed, method: string): boolean {
  return kind === "token-missing" || kind === "token-invalid" || (kind === "scope-missing" && method === "GET");
}

function refusalOf({ kind, message }: RequestFailed): string {
  if (kind === "token-missing") return "This server answers those who have a token.";
  return `The token is not accepted: ${message}.`;
}

/** A path with a query of the parameters that are given. */
export function withQuery(path: string, parameters: Record<string, string | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) query.set(name, `${value}`);
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** What to say of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
