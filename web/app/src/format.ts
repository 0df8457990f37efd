// Amounts and moments as people read them. Amounts are minor units (kopeks, cents) in strings, and never become floats.
import { locale } from "./i18n";

/** Returns how many digits of a currency come after the point. */
function digits(currency: string): number {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

export function money(minor: string | bigint, currency: string, { sign = false } = {}): string {
  const format = new Intl.NumberFormat(locale.value, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    ...(sign && { signDisplay: "exceptZero" }),
  });
  return format.format(decimal(minor, currency) as Intl.StringNumericLiteral);
}

/** Returns minor units as a plain decimal: 19900 as 199.00. */
export function decimal(minor: string | bigint, currency: string): string {
  const places = digits(currency);
  const amount = BigInt(minor);
  const text = (amount < 0n ? -amount : amount).toString().padStart(places + 1, "0");
  const point = text.length - places;
  return (amount < 0n ? "-" : "") + text.slice(0, point) + (places ? `.${text.slice(point)}` : "");
}

/** Returns the minor units that somebody entered as 199, 199.5 or 1 199,50; undefined for what is no amount above 0. */
export function minor(text: string, currency: string): bigint | undefined {
  const places = digits(currency);
  const found = /^(\d{1,13})(?:[.,](\d+))?$/.exec(text.replace(/\s/g, ""));
  if (!found || (found[2]?.length ?? 0) > places) return undefined;
  const amount = BigInt(found[1] + (found[2] ?? "").padEnd(places, "0"));
  return amount > 0n ? amount : undefined;
}

export function moment(at: string | undefined): string {
  if (!at) return "";
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit" } as const;
  return date.toLocaleString(locale.value, isToday ? time : { day: "numeric", month: "short", ...time });
}

export function exactly(at: string): string {
  return new Date(at).toLocaleString(locale.value, { dateStyle: "medium", timeStyle: "medium" });
}

export function number(value: number): string {
  return value.toLocaleString(locale.value, { maximumFractionDigits: value < 100 ? 1 : 0 });
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
  ["millisecond", 0.001],
] as const;

/** Returns seconds in the largest unit that they fill. */
export function duration(seconds: number): string {
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["millisecond", 0.001];
  const value = seconds / size;
  const digits = value < 10 && unit !== "day" && unit !== "hour" ? 1 : 0;
  return value.toLocaleString(locale.value, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits });
}

export function bytes(count: number): string {
  const style = { style: "unit", unit: "megabyte", unitDisplay: "short", maximumFractionDigits: 0 } as const;
  return (count / 1e6).toLocaleString(locale.value, style);
}
