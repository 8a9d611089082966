/** Viewing: what batch knows, what happens now, and both in one picture. */

import type { JSX } from "preact";
import { hrefOf } from "../../route";
import { ViewHead } from "../../ui/head";
import { Tabs } from "../../ui/tabs";
import { Batch } from "./batch";
import { Overview } from "./overview";
import { RealTime } from "./realtime";

const TABS = [
  { id: "overview", name: "Overview" },
  { id: "now", name: "Real time" },
  { id: "batch", name: "Batch" },
];

export function Viewing({ item }: { item: string | null }): JSX.Element {
  const chosen = TABS.some((tab) => tab.id === item) && item !== null ? item : "overview";
  const choose = (id: string): void => {
    location.hash = hrefOf("viewing", id);
  };
  return (
    <>
      <ViewHead title="Viewing" view="stream_event_distribution" />
      <Tabs label="Parts of viewing" tabs={TABS} chosen={chosen} choose={choose}>
        {chosen === "batch" ? <Batch /> : chosen === "now" ? <RealTime /> : <Overview />}
      </Tabs>
    </>
  );
}
