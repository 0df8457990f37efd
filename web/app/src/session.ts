// Who is signed in. The tokens are in localStorage, where all tabs find the same ones: a refresh token is good once, and
// tabs with one each would end the sign-in. What could read them there is a foreign script in this page, and the policy
// of the page (web/Caddyfile) runs none.
import { computed, signal } from "@preact/signals";
import { call, post, Refused, Unreachable, type User } from "./api/client";

interface Tokens {
  access: string;
  /** When the access token expires, by this clock, in milliseconds. */
  until: number;
  refresh: string;
}

interface TokenAnswer {
  access_token: string;
  refresh_token: string;
  expires_in: number;
}

const STORED = "gozon.session";
/** A token that ends this soon is not used any more. */
const MARGIN_MS = 30_000;

const tokens = signal<Tokens | undefined>(stored());
export const me = signal<User | undefined>(undefined);
export const isSignedIn = computed(() => tokens.value !== undefined);
export const isAdmin = computed(() => me.value?.roles.includes("admin") ?? false);

/** Whose rights the access token has; undefined when nobody is signed in. */
export const userId = computed(() => {
  const payload = tokens.value?.access.split(".")[1];
  if (!payload) return undefined;
  return (JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))) as { sub: string }).sub;
});

// Another tab signed in, out, or refreshed.
addEventListener("storage", (event) => {
  if (event.key === STORED || event.key === null) tokens.value = stored();
});

/** Returns an access token, refreshed when need be, once for all who ask; undefined when nobody is signed in. */
export async function accessToken({ renew = false } = {}): Promise<string | undefined> {
  const known = tokens.value;
  if (!known) return undefined;
  if (!renew && known.until - MARGIN_MS > Date.now()) return known.access;
  refreshing ??= refresh(known).finally(() => (refreshing = undefined));
  return refreshing;
}

let refreshing: Promise<string | undefined> | undefined;

async function refresh(known: Tokens): Promise<string | undefined> {
  return alone(async () => {
    const latest = stored();
    // Another tab was faster, or signed out.
    if (latest?.access !== known.access) {
      tokens.value = latest;
      return latest?.access;
    }
    try {
      keep(await exchange(known.refresh));
    } catch (error) {
      if (error instanceof Refused && !error.isTemporary) forget();
      else throw error;
    }
    return tokens.value?.access;
  });
}

/** When the answer is lost, the same token buys another one, for a minute (docs/decisions/0009-identity.md). */
async function exchange(refresh: string): Promise<TokenAnswer> {
  const send = () => post<TokenAnswer>("/token", { grant_type: "refresh_token", refresh_token: refresh });
  try {
    return await send();
  } catch (error) {
    if (error instanceof Unreachable) return send();
    throw error;
  }
}

/** One tab at a time; browsers offer locks to secure pages (and to localhost). */
function alone<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request(STORED, work) as Promise<T>) : work();
}

export async function signIn(email: string, password: string): Promise<void> {
  keep(await post("/token", { grant_type: "password", username: email, password }));
  await loadMe();
}

export async function signUp(email: string, password: string, username: string): Promise<void> {
  await call("post", "/register", { body: { email, password, ...(username && { username }) } });
  await signIn(email, password);
}

/** Sets a new password, which ends all sign-ins; here another one begins. */
export async function changePassword(current: string, fresh: string): Promise<void> {
  await call("post", "/users/me/password", { body: { current_password: current, new_password: fresh } });
  try {
    await signIn(me.value?.email ?? "", fresh);
  } catch (error) {
    // It is changed all the same; what begins anew does so when the access token ends.
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
  }
}

/** Signs out here at once, and at the server if it can be reached. */
export async function signOut(): Promise<void> {
  const known = tokens.value;
  forget();
  try {
    if (known) await post("/token/revoke", { token: known.refresh });
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
  }
}

export async function loadMe(): Promise<void> {
  me.value = await call("get", "/users/me");
}

function keep(answer: TokenAnswer): void {
  const { access_token: access, refresh_token: refresh, expires_in } = answer;
  const fresh = { access, refresh, until: Date.now() + expires_in * 1000 };
  localStorage.setItem(STORED, JSON.stringify(fresh));
  tokens.value = fresh;
}

function forget(): void {
  localStorage.removeItem(STORED);
  tokens.value = undefined;
  me.value = undefined;
}

function stored(): Tokens | undefined {
  const text = localStorage.getItem(STORED);
  return text ? (JSON.parse(text) as Tokens) : undefined;
}
