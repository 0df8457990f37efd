// Views are behind the # (/#/orders/42), because /orders/42 is the API's.
import { signal } from "@preact/signals";

const current = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

/** The parts of the view's path: ["orders", "42"]. */
export const route = signal<string[]>(current());

addEventListener("hashchange", () => {
  route.value = current();
  scrollTo(0, 0);
});

export function go(path: string): void {
  location.hash = path;
}
