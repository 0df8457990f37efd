// Words in the user's language. A new language is a file like ru.ts and a line here.
import { computed, effect, signal } from "@preact/signals";
import { Refused, Unreachable } from "../api/client";
import { en, type Key } from "./en";
import { ru } from "./ru";

export type { Key } from "./en";

const WORDS = { en, ru };
export type Language = keyof typeof WORDS;
export const LANGUAGES: readonly (readonly [Language, string])[] = [
  ["ru", "Русский"],
  ["en", "English"],
];

const STORED = "gozon.language";
const isKnown = (name: string | null): name is Language => name !== null && name in WORDS;
const chosen = localStorage.getItem(STORED);
const preferred = navigator.languages.map((name) => name.slice(0, 2)).find(isKnown);

export const language = signal<Language>(isKnown(chosen) ? chosen : (preferred ?? "en"));

effect(() => {
  document.documentElement.lang = language.value;
});

/** What numbers and dates go by: British or American English, say. */
export const locale = computed(() => navigator.languages.find((name) => name.startsWith(language.value)) ?? language.value);

export function choose(name: Language): void {
  language.value = name;
  localStorage.setItem(STORED, name);
}

/** Returns the words for a key, with what is in braces filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return WORDS[language.value][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** Returns what went wrong, for people. Throws what is no answer of the edge: that is a mistake in this page. */
export function explain(error: unknown): string {
  if (error instanceof Unreachable) return t("error.unreachable");
  if (!(error instanceof Refused)) throw error;
  return reason(error.reason, error.message);
}

/** Returns a reason of the API's contract, for people; `message` is what it says of itself. */
export function reason(name: string, message = name): string {
  const key = `error.${name}`;
  return t(key in en ? (key as Key) : "error.other", { message });
}
