/** Where messages come from, and how people feel there: circles on a map, and the same as a table. */

import type { JSX } from "preact";
import { useId, useMemo, useState } from "preact/hooks";
import { keyOf, numberOf, type Row } from "../../api/types";
import { number, signed } from "../../format";
import { placeOf } from "../../map/cities";
import { sentimentColour } from "../../map/colour";
import { landPath, WORLD } from "../../map/outline";
import { sortedRows, useView } from "../../ui/hooks";
import { SentimentMark } from "../../ui/marks";
import { NoRows, Scroll } from "../../ui/panel";
import { DataTable } from "../../ui/table";

const LAND = landPath();
/** The largest circle. */
const RADIUS = 34;

interface City {
  name: string;
  messages: number;
  sentiment: number | null;
  row: Row;
}

export function Cities(): JSX.Element {
  const view = useView("sentiment_by_city");
  const [asTable, setAsTable] = useState(false);
  const title = useId();
  const cities = useMemo<City[]>(
    () =>
      sortedRows(view, (row) => numberOf(row, "messages")).map((row) => ({
        name: keyOf(row, "city"),
        messages: numberOf(row, "messages") ?? 0,
        sentiment: numberOf(row, "avg_sentiment"),
        row,
      })),
    [view],
  );
  const withName = cities.filter((city) => city.name !== "");
  const nowhere = withName.filter((city) => placeOf(city.name) === null);
  const unnamed = cities.find((city) => city.name === "")?.messages ?? 0;
  const aside = [
    ...(nowhere.length > 0 ? [`not on the map: ${nowhere.map((city) => city.name).join(", ")}`] : []),
    ...(unnamed > 0 ? [`${number(unnamed)} messages name no city`] : []),
  ];
  return (
    <figure class="panel map-panel" aria-labelledby={title}>
      <figcaption class="panel-head">
        <h2 id={title}>Where they are</h2>
        <span class="note">circles by messages, colours by sentiment</span>
        <span class="actions">
          <button
            type="button"
            class="quiet"
            aria-pressed={asTable}
            aria-label="Where they are as a table"
            onClick={() => setAsTable(!asTable)}
          >
            Table
          </button>
        </span>
      </figcaption>
      {withName.length === 0 ? (
        <NoRows view="sentiment_by_city">No message of the newest window names a city.</NoRows>
      ) : asTable ? (
        <Scroll label="Cities" height={380}>
          <DataTable
            caption="Messages and sentiment by city"
            sortable
            columns={[
              { name: "City" },
              { name: "Messages", numeric: true },
              { name: "Sentiment", numeric: true },
              { name: "Likely to leave", numeric: true },
            ]}
            rows={withName.map((city) => ({
              id: city.name,
              cells: [
                city.name,
                { show: number(city.messages), by: city.messages },
                { show: <SentimentMark value={city.sentiment} />, by: city.sentiment },
                { show: number(numberOf(city.row, "high_churn")), by: numberOf(city.row, "high_churn") },
              ],
            }))}
          />
        </Scroll>
      ) : (
        <WorldMap cities={withName} />
      )}
      {aside.length > 0 && <p class="note aside">{aside.join(" · ")}</p>}
    </figure>
  );
}

function WorldMap({ cities }: { cities: City[] }): JSX.Element {
  const most = Math.max(...cities.map((city) => city.messages), 1);
  const shown = cities.flatMap((city) => {
    const place = placeOf(city.name);
    if (place === null) return [];
    const [x, y] = WORLD.place(...place);
    return [{ ...city, x, y, radius: 4 + Math.sqrt(city.messages / most) * (RADIUS - 4) }];
  });
  const summary = shown
    .slice(0, 5)
    .map((city) => `${city.name} ${number(city.messages)} messages, sentiment ${signed(city.sentiment)}`);
  return (
    <svg
      class="map"
      viewBox={`0 0 ${WORLD.width} ${WORLD.height.toFixed(0)}`}
      role="img"
      aria-label={`Cities on a map. The largest: ${summary.join("; ")}.`}
    >
      <path class="land" d={LAND} />
      {shown.map((city) => (
        <circle
          key={city.name}
          class="city"
          cx={city.x.toFixed(1)}
          cy={city.y.toFixed(1)}
          r={city.radius.toFixed(1)}
          style={{ fill: sentimentColour(city.sentiment), stroke: sentimentColour(city.sentiment) }}
        >
          <title>{`${city.name}: ${number(city.messages)} messages, sentiment ${signed(city.sentiment)}`}</title>
        </circle>
      ))}
      {named(shown).map((city) => (
        <text key={city.name} class="city-name" x={city.x} y={nameAt(city)}>
          {city.name}
        </text>
      ))}
    </svg>
  );
}

interface Shown {
  name: string;
  x: number;
  y: number;
  radius: number;
}

/** Names on the map at most, and how large a letter is there. */
const NAMES = 7;
const [LETTER, LINE] = [8, 16];

function nameAt(city: Shown): number {
  return city.y - city.radius - 4;
}

/** The largest whose names do not lie on each other. */
export function named<T extends Shown>(cities: readonly T[]): T[] {
  const chosen: T[] = [];
  for (const city of cities.slice(0, 2 * NAMES)) {
    const free = chosen.every(
      (other) =>
        Math.abs(nameAt(city) - nameAt(other)) > LINE ||
        Math.abs(city.x - other.x) > (LETTER * (city.name.length + other.name.length)) / 2,
    );
    if (free && chosen.length < NAMES) chosen.push(city);
  }
  return chosen;
}
