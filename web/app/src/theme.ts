// Light or dark: as the system says, or as chosen here.
import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

const STORED = "gozon.theme";
const chosen = localStorage.getItem(STORED);
export const theme = signal<Theme>(chosen === "light" || chosen === "dark" ? chosen : "auto");

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem(STORED, theme.value);
});
