/** The way to the drift report of predictions. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { messageOf, requestText } from "../../api/client";
import { useSession } from "../../ui/hooks";

/** A link; with a token, which a link cannot carry, a button that fetches the report into a file. */
export function DriftReport({ prediction }: { prediction: string }): JSX.Element {
  const hasToken = useSession((session) => session.token !== null);
  const [failed, setFailed] = useState<string | null>(null);
  const path = `/v1/predictions/${encodeURIComponent(prediction)}/drift?format=html`;
  if (!hasToken) return <a href={path}>drift report</a>;
  const save = (): void => {
    setFailed(null);
    requestText(path, "text/html").then(
      (html) => saveAs(`drift-${prediction}.html`, html),
      (error: unknown) => setFailed(messageOf(error)),
    );
  };
  return (
    <>
      {failed !== null && <span role="alert">{failed} </span>}
      <button type="button" class="quiet" onClick={save}>
        Save the drift report
      </button>
    </>
  );
}

function saveAs(name: string, html: string): void {
  const url = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
