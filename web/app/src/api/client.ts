// Requests to the edge, typed by its OpenAPI (schema.d.ts is generated from edge/openapi.yaml by each build).
import { accessToken } from "../session";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Account = Schemas["Account"];
export type DeadLetter = Schemas["DeadLetter"];
export type Entry = Schemas["Entry"];
export type InventoryItem = Schemas["InventoryItem"];
export type Order = Schemas["Order"];
export type OrderStatus = Exclude<Order["status"], "STATUS_UNSPECIFIED">;
export type OrderChange = Schemas["OrderChange"];
export type Payout = Schemas["Payout"];
export type Process = Schemas["Process"];
export type Product = Schemas["Product"];
export type Purchase = Schemas["Purchase"];
export type System = Schemas["System"];
export type User = Schemas["User"];
type ErrorBody = Schemas["Error"];

type Method = "get" | "post" | "patch" | "delete";
type Content<T> = T extends { content: { "application/json": infer Json } } ? Json : undefined;
type Answer<O> = O extends { responses: infer R }
  ? { [Code in keyof R]: Code extends 200 | 201 | 204 ? Content<R[Code]> : never }[keyof R]
  : never;
type Body<O> = O extends { requestBody?: { content: { "application/json": infer Json } } } ? Json : undefined;
type Paths<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }[keyof paths];

interface Options<B> {
  path?: Record<string, string>;
  query?: Record<string, string | number | boolean | undefined>;
  body?: B;
  /** The idempotency key: with the same one it happens once, however often it is sent. */
  key?: string;
  etag?: string;
}

/** Longer than the edge waits for a service (14 s). */
const TIMEOUT_MS = 20_000;

/** The edge said no; `reason` is its contract, `message` is English for developers. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    /** What is wrong with which field. */
    readonly fields: ReadonlyMap<string, string>,
    readonly retryAfterSeconds: number,
  ) {
    super(message);
  }

  /** Whether it gets better by sending it again, with the same key (docs/clients.md). */
  get isTemporary(): boolean {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** There was no answer: no network, or the connection broke off. */
export class Unreachable extends Error {}

/** Sends a request with the access token and returns what is answered. Throws Refused and Unreachable. */
export async function call<M extends Method, P extends Paths<M>>(
  method: M,
  path: P,
  options: Options<Body<paths[P][M]>> = {},
): Promise<Answer<paths[P][M]>> {
  const send = async (token: string | undefined) => {
    const headers = new Headers();
    if (token) headers.set("authorization", `Bearer ${token}`);
    if (options.key) headers.set("idempotency-key", options.key);
    if (options.etag) headers.set("if-match", options.etag);
    if (options.body !== undefined) headers.set("content-type", "application/json");
    return request(url(path, options), {
      method: method.toUpperCase(),
      headers,
      ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
    });
  };
  let response = await send(await accessToken());
  // Its time was not up, and yet it is no good: signed out elsewhere, or its key is gone.
  if (response.status === 401) response = await send(await accessToken({ renew: true }));
  return read(response) as Promise<Answer<paths[P][M]>>;
}

/** Sends a form of OAuth, which needs no token. */
export async function post<T>(path: string, form: Record<string, string>): Promise<T> {
  return (await read(await request(path, { method: "POST", body: new URLSearchParams(form) }))) as T;
}

async function request(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { ...init, credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new Unreachable(String(error));
  }
}

async function read(response: Response): Promise<unknown> {
  let text: string;
  try {
    text = await response.text();
  } catch (error) {
    throw new Unreachable(String(error));
  }
  if (response.ok) return text ? JSON.parse(text) : undefined;
  throw refused(response, text);
}

function refused(response: Response, text: string): Refused {
  let reason = "INTERNAL";
  let message = text;
  const fields = new Map<string, string>();
  try {
    const body = JSON.parse(text) as ErrorBody;
    message = body.message;
    for (const detail of body.details as Record<string, unknown>[]) {
      if (typeof detail["reason"] === "string") reason = detail["reason"];
      for (const { field, description } of (detail["field_violations"] ?? []) as Record<string, string>[])
        fields.set(field ?? "", description ?? "");
    }
  } catch {
    // Not of ours: a proxy in front of the edge.
  }
  return new Refused(response.status, reason, message, fields, Number(response.headers.get("retry-after")) || 0);
}

function url(path: string, { path: parts = {}, query = {} }: Options<unknown>): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(parts[name] ?? ""));
  const given = Object.entries(query).filter((pair): pair is [string, string | number | boolean] => pair[1] !== undefined);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return search ? `${filled}?${search}` : filled;
}
