// What the views show: read by REST, kept up to date by what the socket tells.
import { effect, signal, type Signal } from "@preact/signals";
import {
  call,
  Refused,
  type Account,
  type Entry,
  type InventoryItem,
  type Order,
  type OrderStatus,
  type Payout,
  type Purchase,
} from "./api/client";
import { listen, type News } from "./live";
import { userId } from "./session";

const PAGE_SIZE = 20;
/** Of lists that share their view with others. */
export const SHORT_PAGE = 8;
const LARGEST_PAGE = 100;

interface Page<T> {
  items: T[];
  next: string;
}

/** A list that is read page by page; undefined before the first one is there. */
export class List<T> {
  readonly items: Signal<T[] | undefined> = signal(undefined);
  readonly next = signal("");
  readonly error = signal<unknown>(undefined);
  private latest = 0;
  private isReading = false;
  private told: ((items: T[]) => T[])[] = [];

  constructor(
    private readonly read: (pageToken: string | undefined, pageSize: number) => Promise<Page<T>>,
    private readonly pageSize = PAGE_SIZE,
  ) {}

  /** Reads the first page (anew). */
  load = (): Promise<void> => this.fetch(undefined);
  more = (): Promise<void> => this.fetch(this.next.value);

  /** Reads as much anew as is shown, unless something is just being read. */
  async refresh(): Promise<void> {
    const shown = Math.max(this.items.value?.length ?? 0, this.pageSize);
    if (!this.isReading) await this.fetch(undefined, Math.min(shown, LARGEST_PAGE));
  }

  /** Changes what is there; and what is just being read, which may be older. */
  change(how: (items: T[]) => T[]): void {
    if (this.isReading) this.told.push(how);
    if (this.items.value) this.items.value = how(this.items.value);
  }

  /** Forgets everything, and what is under way. */
  clear(): void {
    this.latest++;
    this.isReading = false;
    this.told = [];
    this.items.value = undefined;
    this.next.value = "";
    this.error.value = undefined;
  }

  private async fetch(pageToken: string | undefined, pageSize = this.pageSize): Promise<void> {
    const number = ++this.latest;
    if (!this.isReading) this.told = [];
    this.isReading = true;
    try {
      const page = await this.read(pageToken, pageSize);
      // Somebody asked again meanwhile, and gets what is newer.
      if (number !== this.latest) return;
      const items = pageToken ? [...(this.items.value ?? []), ...page.items] : page.items;
      this.items.value = this.told.reduce((known, how) => how(known), items);
      this.next.value = page.next;
      this.error.value = undefined;
    } catch (problem) {
      if (number === this.latest) this.error.value = problem;
    } finally {
      if (number === this.latest) this.isReading = false;
    }
  }
}

const mine = () => ({ user_id: userId.value ?? "" });
const page = (page_token: string | undefined) => ({ page_size: PAGE_SIZE, page_token });

/** null: this user has none yet; undefined: not known yet. */
export const account = signal<Account | null | undefined>(undefined);

/** Which orders are shown; all of them without a status. */
export const orderStatus = signal<OrderStatus | "">("");

export const orders = new List<Order>(async (token) => {
  const found = await call("get", "/orders", { query: { ...page(token), status: orderStatus.value || undefined } });
  return { items: found.orders, next: found.next_page_token };
});

export const payouts = new List<Payout>(async (token) => {
  const found = await call("get", "/payouts", { query: { ...page(token), ...mine() } });
  return { items: found.payouts, next: found.next_page_token };
});

export const entries = new List<Entry>(async (token) => {
  try {
    const found = await call("get", "/accounts/{user_id}/entries", { path: mine(), query: page(token) });
    return { items: found.entries, next: found.next_page_token };
  } catch (problem) {
    // Who has no account yet has no entries: nothing is wrong with that.
    if (problem instanceof Refused && problem.reason === "ACCOUNT_NOT_FOUND") return { items: [], next: "" };
    throw problem;
  }
});

export const inventory = new List<InventoryItem>(async () => {
  const found = await call("get", "/users/{user_id}/inventory", { path: mine() });
  return { items: found.items, next: "" };
});

export const purchases = new List<Purchase>(async (token) => {
  const found = await call("get", "/users/{user_id}/purchases", { path: mine(), query: page(token) });
  return { items: found.purchases, next: found.next_page_token };
});

const lists = [orders, payouts, entries, inventory, purchases] as const;

export async function loadAccount(): Promise<void> {
  try {
    setAccount(await call("get", "/accounts/{user_id}", { path: mine() }));
  } catch (problem) {
    if (!(problem instanceof Refused && problem.reason === "ACCOUNT_NOT_FOUND")) throw problem;
    account.value ??= null;
  }
}

export function setAccount(fresh: Account): void {
  const known = account.value;
  // What the socket tells may be older than what REST has just answered.
  if (!known || (fresh.updated_at ?? "") >= (known.updated_at ?? "")) account.value = fresh;
}

export function setOrder(fresh: Partial<Order> & Pick<Order, "id" | "etag">): void {
  const isShown = ({ status }: Order) => !orderStatus.value || status === orderStatus.value;
  orders.change((known) => merged(known, fresh as Order).filter(isShown));
}

export function setPayout(fresh: Payout): void {
  payouts.change((known) => merged(known, fresh));
}

/** Puts what is new at its place, or in front; etags are numbers that grow. */
function merged<T extends { id: string; etag: string }>(known: T[], fresh: T): T[] {
  const place = known.findIndex(({ id }) => id === fresh.id);
  const old = known[place];
  if (!old) return [fresh, ...known];
  return Number(fresh.etag) > Number(old.etag) ? known.with(place, { ...old, ...fresh }) : known;
}

export function setItem(fresh: InventoryItem): void {
  inventory.change((known) => {
    const place = known.findIndex(({ product_id }) => product_id === fresh.product_id);
    if (fresh.quantity === "0") return known.filter((_, index) => index !== place);
    return place < 0 ? [fresh, ...known] : known.with(place, fresh);
  });
}

function apply(news: News): void {
  switch (news.type) {
    case "resync":
      if (account.value !== undefined) void loadAccount().catch(() => undefined);
      for (const list of lists) if (list.items.value) void list.load();
      break;
    case "balance.changed":
      setAccount(news.data);
      if (entries.items.value) void entries.load();
      break;
    case "inventory.changed":
      setItem(news.data);
      if (purchases.items.value) void purchases.load();
      break;
    case "payout.changed":
      setPayout(news.data);
      break;
    default:
      if (news.type.startsWith("order.")) setOrder(news.data);
  }
}

/** Begins to keep everything up to date; somebody else who signs in sees nothing of it. */
export function start(): void {
  listen(apply);
  let whose = userId.value;
  effect(() => {
    if (userId.value === whose) return;
    whose = userId.value;
    account.value = undefined;
    orderStatus.value = "";
    for (const list of lists) list.clear();
  });
}
