import { defineConfig } from "vite";

/** Where `npm run dev` finds a server. */
const server = process.env.TIDELINE_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    target: "es2022",
    // Fonts stay files: the page may load nothing from data: but pictures.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    sourcemap: false,
  },
  server: {
    proxy: {
      "/v1": { target: server, ws: true },
      "/healthz": server,
      "/readyz": server,
    },
  },
});
