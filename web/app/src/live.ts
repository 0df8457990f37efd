// The WebSocket: one a tab, opened again whenever it breaks, going on from the last message that was read
// (edge/asyncapi.yaml). Who listens hears each message once, in order.
import { effect, signal } from "@preact/signals";
import type { Account, InventoryItem, Order, Payout } from "./api/client";
import { accessToken, isSignedIn, userId } from "./session";

export type OrderNews = "created" | "authorized" | "paid" | "shipped" | "canceled" | "refunded" | "processed";
export type News =
  | { type: `order.${OrderNews}`; at: string; data: Partial<Order> & Pick<Order, "id" | "etag" | "status"> }
  | { type: "payout.changed"; at: string; data: Payout }
  | { type: "inventory.changed"; at: string; data: InventoryItem }
  | { type: "balance.changed"; at: string; data: Account }
  /** Read anew what is shown: something may have been missed. */
  | { type: "resync" };

type Message = News & { id: string } | { type: "hello"; id: string };

export const connection = signal<"off" | "connecting" | "live" | "offline">("off");

const listeners = new Set<(news: News) => void>();
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const BAD_ID = 4400;
const TOKEN_EXPIRED = 4401;

/** Has this called with all news from now on; returns how to end that. */
export function listen(listener: (news: News) => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Keeps a socket open while somebody is signed in. */
export function start(): void {
  let stop: (() => void) | undefined;
  let whose: string | undefined;
  effect(() => {
    const user = isSignedIn.value ? userId.value : undefined;
    if (user === whose) return;
    whose = user;
    stop?.();
    stop = user ? follow(user) : undefined;
  });
}

function follow(user: string): () => void {
  const stored = `gozon.live.${user}`;
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let ended = false;

  async function open(): Promise<void> {
    clearTimeout(timer);
    if (ended || socket) return;
    if (!navigator.onLine) return void (connection.value = "offline");
    connection.value = "connecting";
    let token: string | undefined;
    try {
      token = await accessToken();
    } catch {
      return again();
    }
    if (ended || socket || !token) return;
    const after = sessionStorage.getItem(stored);
    const address = new URL(after ? `/ws?after=${encodeURIComponent(after)}` : "/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const opened = new WebSocket(address, ["gozon.v1", `bearer.${token}`]);
    socket = opened;
    opened.onmessage = ({ data }) => {
      const message = JSON.parse(data as string) as Message;
      connection.value = "live";
      failures = 0;
      // Before the first greeting there was nothing to go on from.
      if (message.type === "hello") {
        if (!after) tell({ type: "resync" });
      } else tell(message);
      sessionStorage.setItem(stored, message.id);
    };
    opened.onclose = ({ code }) => {
      if (socket !== opened) return;
      socket = undefined;
      if (code === BAD_ID) sessionStorage.removeItem(stored);
      if (code === TOKEN_EXPIRED) void accessToken({ renew: true }).catch(() => undefined);
      again();
    };
  }

  function again(): void {
    if (ended) return;
    connection.value = navigator.onLine ? "connecting" : "offline";
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures++, LONGEST_PAUSE_MS);
    clearTimeout(timer);
    timer = setTimeout(() => void open(), pause * (0.2 + 0.8 * Math.random()));
  }

  function cut(): void {
    const old = socket;
    socket = undefined;
    old?.close();
    connection.value = "offline";
  }

  function back(): void {
    failures = 0;
    void open();
  }

  addEventListener("offline", cut);
  addEventListener("online", back);
  void open();
  return () => {
    ended = true;
    clearTimeout(timer);
    removeEventListener("offline", cut);
    removeEventListener("online", back);
    cut();
    connection.value = "off";
  };
}

function tell(news: News): void {
  for (const listener of listeners) listener(news);
}
