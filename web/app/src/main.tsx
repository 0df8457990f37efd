import { render } from "preact";
import { App } from "./app";
import * as live from "./live";
import * as stores from "./stores";
import "./style.css";
import "./theme";
import * as toasts from "./toasts";

stores.start();
toasts.start();
live.start();
const root = document.getElementById("app");
if (root) render(<App />, root);
