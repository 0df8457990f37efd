import { defineConfig } from "vite";

// The edge, when the page is served by `npm run dev`; it knows its own origin only, so requests are passed on.
const EDGE = "http://127.0.0.1:8080";
const api = "^/(register|token|users|orders|accounts|products|payouts|analytics|system|dead-letters|ws|docs|openapi.yaml)";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { [api]: { target: EDGE, ws: true, changeOrigin: true } } },
});
