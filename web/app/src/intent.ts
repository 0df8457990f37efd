// What somebody wants to happen once: paying in, ordering, buying. It is written down with its idempotency key before it
// is sent and sent again until there is an answer, after a reload too. So a lost connection neither loses it nor makes
// it happen twice.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Refused, Unreachable } from "./api/client";
import { userId } from "./session";

interface Written<B> {
  key: string;
  body: B;
  /** When it was first sent. */
  at: number;
}

/** Keys are kept for 24 hours: after that it could happen once more. */
const KEPT_MS = 23 * 3600_000;

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

/** Returns what a form needs to have something done once. `name` tells intents of one user apart. */
export function useIntent<B, A>(name: string, send: (body: B, key: string) => Promise<A>, done: (answer: A) => void) {
  const isBusy = useSignal(false);
  const isWaiting = useSignal(false);
  const error = useSignal<unknown>(undefined);
  const stored = `gozon.intent.${userId.value}.${name}`;
  const alive = useRef(true);
  // What was answered by an error that says neither yes nor no.
  const unsure = useRef<Written<B> | undefined>(undefined);

  async function pursue(written: Written<B>): Promise<void> {
    if (isBusy.value) return;
    isBusy.value = true;
    error.value = undefined;
    unsure.current = undefined;
    for (let pause = FIRST_PAUSE_MS; alive.current; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        const answer = await send(written.body, written.key);
        sessionStorage.removeItem(stored);
        if (alive.current) done(answer);
        break;
      } catch (problem) {
        const again = problem instanceof Unreachable || (problem instanceof Refused && problem.isTemporary);
        if (!again) {
          error.value = problem;
          const status = problem instanceof Refused ? problem.status : 500;
          if (status >= 500) unsure.current = written;
          // Who is signed out in the middle of it goes on after signing in.
          if (status !== 401) sessionStorage.removeItem(stored);
          break;
        }
        isWaiting.value = true;
        await connected(problem instanceof Refused ? Math.max(pause, problem.retryAfterSeconds * 1000) : pause);
      }
    }
    isWaiting.value = false;
    isBusy.value = false;
  }

  useEffect(() => {
    alive.current = true;
    const text = sessionStorage.getItem(stored);
    const written = text ? (JSON.parse(text) as Written<B>) : undefined;
    if (written && written.at > Date.now() - KEPT_MS) void pursue(written);
    return () => void (alive.current = false);
  }, []);

  return {
    isBusy,
    /** Whether it was sent, and nothing was heard of it yet. */
    isWaiting,
    error,
    submit(body: B): void {
      if (isBusy.value) return;
      const isSame = JSON.stringify(unsure.current?.body) === JSON.stringify(body);
      const written = isSame && unsure.current ? unsure.current : { key: newKey(), body, at: Date.now() };
      sessionStorage.setItem(stored, JSON.stringify(written));
      void pursue(written);
    },
  };
}

/** Returns after a pause, or as soon as the network is back. */
function connected(pause: number): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      removeEventListener("online", over);
      resolve();
    };
    const timer = setTimeout(over, pause * (0.75 + Math.random() / 2));
    addEventListener("online", over);
  });
}

// crypto.randomUUID is there for secure pages only.
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns a signal that a form's input is kept in until it was sent: reloading the page loses nothing. */
export function useDraft<T>(name: string, initial: T) {
  const stored = `gozon.draft.${userId.value}.${name}`;
  const text = sessionStorage.getItem(stored);
  const draft = useSignal<T>(text ? (JSON.parse(text) as T) : initial);
  return {
    value: draft,
    set(value: T): void {
      draft.value = value;
      sessionStorage.setItem(stored, JSON.stringify(value));
    },
    clear(): void {
      draft.value = initial;
      sessionStorage.removeItem(stored);
    },
  };
}
