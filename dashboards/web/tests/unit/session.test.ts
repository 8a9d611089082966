import { describe, expect, it } from "vitest";
import { request, RequestFailed } from "../../src/api/client";
import { Session, tokenOf } from "../../src/api/session";
import type { Json } from "../../src/api/types";
import { memory } from "./memory";

/** Answers each request with what `answer` makes of its token, and notes that. */
function server(answer: (token: string | null) => { status: number; body: Json }): {
  sent: (string | null)[];
  fetch: typeof fetch;
} {
  const sent: (string | null)[] = [];
  const answering = async (_: string, init: RequestInit): Promise<Response> => {
    const token = new Headers(init.headers).get("authorization");
    sent.push(token);
    const { status, body } = answer(token);
    return new Response(JSON.stringify(body), { status });
  };
  return { sent, fetch: answering as unknown as typeof fetch };
}

const problem = (kind: string, status: number, detail: string): { status: number; body: Json } => ({
  status,
  body: { type: `urn:tideline:problem:${kind}`, title: kind, status, detail },
});

describe("a token", () => {
  it("is found in what is pasted", () => {
    for (const text of ["a.b-_.c", " a.b-_.c\n", "Bearer a.b-_.c", "bearer  a.b\n-_.c"])
      expect(tokenOf(text)).toBe("a.b-_.c");
    for (const text of ["", "abc", "a.b", "a.b.c.d", "a..c", "a.b.c=", "a.é.c", "Bearer"])
      expect(tokenOf(text)).toBeNull();
  });

  it("is kept by the tab, and forgotten when it is signed out of or refused", () => {
    const kept = memory();
    const session = new Session(kept);
    expect([session.token, session.wanted]).toEqual([null, null]);
    session.signIn("a.b.c");
    expect(new Session(kept).token).toBe("a.b.c");
    session.signOut();
    expect([session.token, kept.values.size]).toEqual([null, 0]);
    session.signIn("a.b.d");
    session.refuse("a.b.d", "no");
    expect([session.token, session.wanted, kept.values.size]).toEqual([null, "no", 0]);
  });

  it("lasts for the visit where nothing can be kept", () => {
    const broken = (): never => {
      throw new DOMException("denied", "SecurityError");
    };
    const session = new Session({ getItem: broken, setItem: broken, removeItem: broken });
    session.signIn("a.b.c");
    expect(session.token).toBe("a.b.c");
  });

  it("that is refused late says nothing of the one that was given since", () => {
    const session = new Session(null);
    session.signIn("a.b.c");
    session.signIn("d.e.f");
    session.refuse("a.b.c", "it has expired");
    session.refuse(null, "there is none");
    expect([session.token, session.wanted]).toEqual(["d.e.f", null]);
  });

  it("is told of once, to whoever listens", () => {
    const session = new Session(null);
    let told = 0;
    const end = session.subscribe(() => (told += 1));
    session.refuse(null, "one");
    session.refuse(null, "two");
    expect([told, session.wanted]).toEqual([1, "one"]);
    session.signIn("a.b.c");
    end();
    session.signOut();
    expect(told).toBe(2);
  });
});

describe("a request", () => {
  it("carries the token, and none where there is none", async () => {
    const session = new Session(null);
    const { sent, fetch } = server(() => ({ status: 200, body: {} }));
    await request("/v1/views", { session, fetch });
    session.signIn("a.b.c");
    await request("/v1/views", { session, fetch });
    expect(sent).toEqual([null, "Bearer a.b.c"]);
  });

  it.each([
    ["token-missing", 401, "GET", true],
    ["token-invalid", 401, "POST", true],
    ["scope-missing", 403, "GET", true],
    ["scope-missing", 403, "POST", false],
    ["unknown-view", 404, "GET", false],
  ] as const)("that is answered %s (%i, %s) wants a token: %s", async (kind, status, method, wants) => {
    const session = new Session(null);
    session.signIn("a.b.c");
    const { fetch } = server(() => problem(kind, status, "because"));
    await expect(request("/v1/views", { session, fetch, method })).rejects.toThrow(RequestFailed);
    expect(session.wanted !== null).toBe(wants);
    expect(session.token).toBe(wants ? null : "a.b.c");
  });

  it("that something before the server refuses wants none", async () => {
    const session = new Session(null);
    const { fetch } = server(() => ({ status: 401, body: { error: "proxy" } }));
    await expect(request("/v1/views", { session, fetch })).rejects.toThrow("status 401");
    expect(session.wanted).toBeNull();
  });
});
