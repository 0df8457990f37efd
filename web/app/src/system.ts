// What the system page shows, made of what GET /system answers now and then: numbers that only grow become rates.
import type { System } from "./api/client";

/** One moment of the charts; undefined is not known. */
export interface Sample {
  /** Seconds, by the clock of the server. */
  at: number;
  created: number | undefined;
  paid: number | undefined;
  /** Seconds from an order's creation to its payment, for half of the orders and for 99 of 100. */
  p50: number | undefined;
  p99: number | undefined;
  outboxAge: number | undefined;
  lag: number | undefined;
  /** Cores in use by each process, all its instances together. */
  cpu: ReadonlyMap<string, number>;
}

interface Counts {
  startedAt: string | undefined;
  cpu: number;
  created: number;
  paid: number;
  timed: number;
  within: ReadonlyMap<number, number>;
}

/** Of the orders paid in so many answers is said how long they took: one answer alone may know of one order. */
const SMOOTHED = 5;
export const KEPT_SECONDS = 180;

export class History {
  /** The latest last; a new list each time, by which views see that there is something new. */
  samples: readonly Sample[] = [];
  private known = new Map<string, Counts>();
  private timed: { total: number; within: Map<number, number> }[] = [];

  /** Takes what was answered; the same answer twice counts once. */
  add(system: System): void {
    const at = Date.parse(system.observed_at ?? "") / 1000;
    const before = this.samples.at(-1);
    if (before && at <= before.at) return;
    let created = 0;
    let paid = 0;
    let isCounted = false;
    const timed = { total: 0, within: new Map<number, number>() };
    const cpu = new Map<string, number>();
    for (const { name, instance, state, started_at, cpu_seconds, orders } of system.processes) {
      if (state !== "UP") continue;
      const key = `${name} ${instance}`;
      const counts: Counts = {
        startedAt: started_at,
        cpu: cpu_seconds,
        created: Number(orders?.created ?? 0),
        paid: Number(orders?.paid ?? 0),
        timed: Number(orders?.timed ?? 0),
        within: new Map(orders?.timed_within.map(({ seconds, orders: count }) => [seconds, Number(count)])),
      };
      const old = this.known.get(key);
      this.known.set(key, counts);
      // Who began since the last answer has counted from nothing; of others nobody knows what they did before it.
      const isNew = old?.startedAt !== counts.startedAt;
      const isFresh = isNew && before && Date.parse(started_at ?? "") / 1000 >= before.at - 1;
      const base = isNew ? (isFresh ? undefined : counts) : old;
      if (before) {
        const used = Math.max(0, counts.cpu - (base?.cpu ?? 0)) / (at - before.at);
        cpu.set(name, (cpu.get(name) ?? 0) + used);
      }
      if (!orders) continue;
      isCounted = true;
      created += counts.created - (base?.created ?? 0);
      paid += counts.paid - (base?.paid ?? 0);
      timed.total += counts.timed - (base?.timed ?? 0);
      for (const [seconds, count] of counts.within)
        timed.within.set(seconds, (timed.within.get(seconds) ?? 0) + count - (base?.within.get(seconds) ?? 0));
    }
    this.timed = [...this.timed, timed].slice(-SMOOTHED);
    const rate = (count: number) => (before && isCounted ? count / (at - before.at) : undefined);
    const sample: Sample = {
      at,
      created: rate(created),
      paid: rate(paid),
      p50: this.quantile(0.5),
      p99: this.quantile(0.99),
      outboxAge: most(system.backlogs.map(({ outbox_age_seconds }) => outbox_age_seconds)),
      lag: sum(system.consumers.map(({ lag }) => (lag === undefined ? undefined : Number(lag)))),
      cpu,
    };
    this.samples = [...this.samples.filter((old) => old.at >= at - KEPT_SECONDS), sample];
  }

  /** Returns within how many seconds this part of the orders was paid; undefined when none was. */
  private quantile(part: number): number | undefined {
    const wanted = part * this.timed.reduce((total, each) => total + each.total, 0);
    if (!wanted) return undefined;
    const bounds = [...(this.timed.at(-1)?.within.keys() ?? [])].sort((a, b) => a - b);
    let [from, below] = [0, 0];
    for (const to of bounds) {
      const orders = this.timed.reduce((total, each) => total + (each.within.get(to) ?? 0), 0);
      // Within a bucket they are taken to be spread evenly.
      if (orders >= wanted) return from + ((to - from) * (wanted - below)) / (orders - below);
      [from, below] = [to, orders];
    }
    // Longer than the last bound; how much longer nobody knows.
    return from;
  }
}

function known(values: readonly (number | undefined)[]): number[] {
  return values.filter((value) => value !== undefined);
}

function most(values: readonly (number | undefined)[]): number | undefined {
  const found = known(values);
  return found.length ? Math.max(...found) : undefined;
}

function sum(values: readonly (number | undefined)[]): number | undefined {
  const found = known(values);
  return found.length ? found.reduce((total, value) => total + value, 0) : undefined;
}
