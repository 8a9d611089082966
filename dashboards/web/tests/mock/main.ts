/** `npm run mock`: the mock on its own, with data that moves, to look at the page. */

import { fileURLToPath } from "node:url";
import { chance } from "./noise";
import { MockServer } from "./server";

/** Moves everything on, as running generators would. */
export function move(server: MockServer, tick: number): void {
  for (const view of server.views.values()) {
    const rows = view.window().slice(0, 12);
    const row = rows[Math.floor(chance(`${view.name} ${tick}`) * rows.length)];
    if (!row) continue;
    const [column, value] =
      Object.entries(row).find(([name, each]) => typeof each === "number" && name !== "rank") ?? [];
    if (column !== undefined) server.change(view.name, [{ key: row.key, columns: { [column]: Number(value) + 1 } }]);
  }
  server.say(1 + (tick % 3), tick % 7 === 0 ? 4 : 0);
  if (tick % 12 === 0) server.advance(...server.views.keys());
  if (tick % 9 === 0) {
    server.alert(
      "churn",
      "customers_at_risk",
      { author: `customer_${1_000 + tick}` },
      { churn_risk: 0.94, last_product: "Harbor Pay", last_text: "Third time this month, I am cancelling." },
    );
    server.alert(
      "trend_spike",
      "movie_trends",
      { movie_title: "Challengers" },
      { trend_score: 188.2, mentions_count: 31 },
      { trend_score: 118.4 },
    );
    server.alert(
      "crash",
      "symbol_sentiment",
      { symbol: "TWTR" },
      { sentiment: -0.61, price_change: -0.034, mentions: 41 },
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = fileURLToPath(new URL("../../dist", import.meta.url));
  const server = new MockServer({ page });
  await server.start(Number(process.env.PORT ?? 8090));
  console.log(`a mock of Tideline at ${server.url}`);
  let tick = 0;
  setInterval(() => move(server, (tick += 1)), 400);
}
