// Short news in a corner, read aloud too; and with permission by the browser, while the page is not looked at.
import { signal } from "@preact/signals";
import { money } from "./format";
import { t, type Key } from "./i18n";
import { en } from "./i18n/en";
import { listen, type News } from "./live";

type Tone = "good" | "bad" | "note";
interface Toast {
  id: number;
  text: string;
  tone: Tone;
  href?: string | undefined;
}

const SECONDS = 6;
const MOST = 4;
const toasts = signal<Toast[]>([]);
let last = 0;

export const canNotify = signal("Notification" in window ? Notification.permission : "denied");

export async function askToNotify(): Promise<void> {
  canNotify.value = await Notification.requestPermission();
}

export function toast(text: string, tone: Tone = "note", href?: string): void {
  const id = ++last;
  toasts.value = [...toasts.value, { id, text, tone, href }].slice(-MOST);
  setTimeout(() => dismiss(id), SECONDS * 1000);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((shown) => shown.id !== id);
}

export function start(): void {
  listen((news) => {
    const said = words(news);
    if (!said) return;
    toast(...said);
    if (document.hidden && canNotify.value === "granted") notify(said[0]);
  });
}

function notify(text: string): void {
  try {
    new Notification(t("appName"), { body: text });
  } catch {
    // Phones have them for service workers only.
  }
}

function words(news: News): [string, Tone, string] | undefined {
  if (news.type === "payout.changed") {
    const { status, amount, currency } = news.data;
    if (status !== "COMPLETED" && status !== "FAILED") return undefined;
    return [t(`payout.${status}`, { amount: money(amount, currency) }), status === "FAILED" ? "bad" : "good", "#/payouts"];
  }
  // Created is told by who did it, and processed is nothing to tell.
  if (!(news.type in en) || news.type === "order.created" || !("data" in news && "total_price" in news.data)) return undefined;
  const { id, total_price = "0", refunded_price = "0", currency = "RUB", cancel_reason } = news.data;
  const amount = money(news.type === "order.refunded" ? refunded_price : total_price, currency);
  const reason = t(`cancel.${cancel_reason ?? "CANCEL_REASON_UNSPECIFIED"}`);
  const isBad = news.type === "order.canceled" && cancel_reason !== "REQUESTED";
  return [t(news.type as Key, { amount, reason }), isBad ? "bad" : "good", `#/orders/${id}`];
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, tone, href }) => (
        <div key={id} class={`toast ${tone}`}>
          {href ? <a href={href}>{text}</a> : <span>{text}</span>}
          <button type="button" class="plain icon" aria-label={t("close")} onClick={() => dismiss(id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
