/** What stands in for everything while the server wants a token. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { SESSION, tokenOf } from "../api/session";

/** The longest token that the server looks at, with room for what is pasted around it. */
const TYPED_MAX = 9_000;

export function SignIn({ why }: { why: string }): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => field.current?.focus(), []);
  useEffect(() => {
    document.title = "Sign in · Tideline";
  }, []);
  const submit = (event: Event): void => {
    event.preventDefault();
    const token = tokenOf(field.current?.value ?? "");
    if (token === null) {
      setProblem("That is no token: it has three parts, with a dot between them.");
      field.current?.focus();
    } else SESSION.signIn(token);
  };
  return (
    <section class="absent sign-in">
      <h1 tabIndex={-1}>Sign in</h1>
      <p role="alert">{problem ?? why}</p>
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input
          ref={field}
          id="token"
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          maxLength={TYPED_MAX}
          aria-describedby="token-note"
          aria-invalid={problem === null ? undefined : "true"}
        />
        <button type="submit" class="primary">
          Sign in
        </button>
      </form>
      <p id="token-note" class="note">
        A JWT with the scope <code>read</code>; to start batch runs, <code>admin</code>. It stays in this tab until you
        close it or sign out. Where a proxy signs people in, load the page again instead.
      </p>
    </section>
  );
}
