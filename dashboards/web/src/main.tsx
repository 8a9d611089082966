/** The page's entry. */

import "@fontsource-variable/ibm-plex-sans/wght.css";
import "./style/page.css";
import { render } from "preact";
import { App } from "./app";

/** Charts are painted with the font that is there, and not again when it comes: it is waited for, but not for long. */
const FONT = "14px 'IBM Plex Sans Variable'";
const FONT_MS = 400;

const place = document.getElementById("page");
if (!place) throw new Error("the page has no place to be put in");
await Promise.race([
  document.fonts.load(FONT).catch(() => []),
  new Promise((resolve) => {
    setTimeout(resolve, FONT_MS);
  }),
]);
place.textContent = "";
render(<App />, place);
