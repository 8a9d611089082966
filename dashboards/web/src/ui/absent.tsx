/** What stands in for a view whose pipeline is not there. */

import type { JSX } from "preact";

export function Absent({ title, pipeline, views }: { title: string; pipeline: string; views: string[] }): JSX.Element {
  return (
    <section class="absent">
      <h1 tabIndex={-1}>{title}</h1>
      <p>
        The pipeline <code>{pipeline}</code> is not deployed here: this server has no view{" "}
        {views.map((view, at) => (
          <span key={view}>
            {at > 0 && ", "}
            <code>{view}</code>
          </span>
        ))}
        .
      </p>
      <p>
        Put its definition, <code>schema/pipelines/{pipeline}.toml</code>, into the folder that the server was started
        with (<code>tideline up --pipelines FOLDER</code>), and start it again.
      </p>
    </section>
  );
}
