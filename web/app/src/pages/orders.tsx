import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { call, Refused, type Order, type OrderStatus, type Product } from "../api/client";
import { decimal, minor, money } from "../format";
import { t } from "../i18n";
import { useDraft, useIntent } from "../intent";
import { go } from "../router";
import { account, loadAccount, orders, orderStatus, setOrder } from "../stores";
import { toast } from "../toasts";
import { Badge, Fate, Field, FilteredTitle, Form, Listing, Moment } from "../ui";

const STATUSES = ["PENDING", "AUTHORIZED", "PAID", "SHIPPED", "CANCELED"] as const;

export function OrdersPage() {
  useEffect(() => {
    void orders.load();
    if (account.value === undefined) void loadAccount().catch(() => undefined);
  }, []);
  function choose(status: OrderStatus | ""): void {
    orderStatus.value = status;
    orders.clear();
    void orders.load();
  }
  return (
    <>
      <h1>{t("orders")}</h1>
      <div class="columns wide-first">
        <section>
          <FilteredTitle
            title={t("yourOrders")}
            label={t("status")}
            value={orderStatus.value}
            options={[["", t("anyStatus")], ...STATUSES.map((status) => [status, t(`status.${status}`)] as const)]}
            onChange={choose}
          />
          <Listing list={orders} empty={orderStatus.value ? t("noSuchOrders") : t("noOrders")} class="rows card">
            {(order) => <OrderLine key={order.id} order={order} />}
          </Listing>
        </section>
        <NewOrder />
      </div>
    </>
  );
}

/** An order in a list, and below it what can be done with it. */
export function OrderLine({ order, children }: { order: Order; children?: ComponentChildren }) {
  return (
    <li>
      <div>
        <a href={`#/orders/${order.id}`}>{titleOf(order)}</a>
        <small>
          <Moment at={order.created_at} />
        </small>
      </div>
      <div class="end">
        <b>{money(order.total_price, order.currency)}</b>
        <Badge status={order.status} />
        {children}
      </div>
    </li>
  );
}

/** Returns what an order is called: news of new orders come without items. */
export function titleOf({ description, items }: Order): string {
  return description || (items ?? []).map(({ name, quantity }) => `${name} × ${quantity}`).join(", ") || t("order");
}

interface Line {
  name: string;
  quantity: string;
  price: string;
  /** Of a product of the shop, whose name and price are the shop's. */
  productId?: string;
}

interface NewOrderBody {
  items: { name?: string; price?: string; product_id?: string; quantity: number }[];
  description: string;
  total_price: string;
  currency: string;
  capture: "AUTOMATIC" | "MANUAL";
}

const EMPTY: Line = { name: "", quantity: "1", price: "" };
const BLANK = { lines: [EMPTY], description: "", holdOnly: false };

function NewOrder() {
  const draft = useDraft("order", BLANK);
  const tried = useSignal(false);
  const products = useSignal<Product[]>([]);
  const { lines, description, holdOnly } = draft.value.value;
  const currency = account.value?.currency ?? "RUB";
  const total = useComputed(() =>
    draft.value.value.lines.reduce((sum, line) => sum + (minor(line.price, currency) ?? 0n) * BigInt(count(line) ?? 0), 0n),
  );
  const { isBusy, isWaiting, error, submit } = useIntent<NewOrderBody, Order>(
    "order",
    (body, key) => call("post", "/orders", { key, body }),
    (order) => {
      setOrder(order);
      draft.clear();
      tried.value = false;
      toast(t("orderAccepted"), "note", `#/orders/${order.id}`);
      go(`/orders/${order.id}`);
    },
  );

  async function loadProducts(): Promise<void> {
    const found = await call("get", "/products", { query: { page_size: 50, is_active: true } });
    products.value = found.products;
    // What was put in before a price changed.
    const priced = (line: Line) => {
      const product = found.products.find(({ id }) => id === line.productId);
      return product ? { ...line, name: product.name, price: decimal(product.price, product.currency) } : line;
    };
    change({ lines: draft.value.value.lines.map(priced) });
  }

  const isMispriced = error.value instanceof Refused && error.value.reason === "TOTAL_MISMATCH";
  useEffect(() => void loadProducts().catch(() => undefined), [isMispriced]);

  const change = (values: Partial<typeof BLANK>) => draft.set({ ...draft.value.value, ...values });
  const put = (index: number, values: Partial<Line>) =>
    change({ lines: lines.map((line, other) => (other === index ? { ...line, ...values } : line)) });

  function addProduct(id: string): void {
    const product = products.value.find((other) => other.id === id);
    if (!product) return;
    const price = decimal(product.price, product.currency);
    const line = { name: product.name, quantity: "1", price, productId: id };
    change({ lines: [...lines.filter(({ name, price: cost }) => name || cost), line] });
  }

  function send(): void {
    tried.value = true;
    if (lines.some((line) => !line.name || !count(line) || minor(line.price, currency) === undefined)) return;
    const items = lines.map((line) => ({
      quantity: count(line) ?? 1,
      ...(line.productId
        ? { product_id: line.productId }
        : { name: line.name, price: (minor(line.price, currency) ?? 0n).toString() }),
    }));
    const capture = holdOnly ? "MANUAL" : "AUTOMATIC";
    submit({ items, description, total_price: total.value.toString(), currency, capture });
  }

  return (
    <section class="card">
      <h2>{t("newOrder")}</h2>
      <Form onSubmit={send}>
        {lines.map((line, index) => (
          <fieldset key={index} class={lines.length > 1 ? "order-line removable" : "order-line"} disabled={isBusy.value}>
            <legend class="hidden">{`${t("item")} ${index + 1}`}</legend>
            <Field
              label={t("lineName")}
              value={line.name}
              maxLength={200}
              readOnly={Boolean(line.productId)}
              wrong={tried.value && !line.name ? "…" : undefined}
              onInput={(name) => put(index, { name })}
            />
            <Field
              label={t("quantity")}
              inputMode="numeric"
              value={line.quantity}
              wrong={tried.value && !count(line) ? "…" : undefined}
              onInput={(quantity) => put(index, { quantity })}
            />
            <Field
              label={`${t("price")}, ${currency}`}
              inputMode="decimal"
              value={line.price}
              readOnly={Boolean(line.productId)}
              wrong={tried.value && minor(line.price, currency) === undefined ? "…" : undefined}
              onInput={(price) => put(index, { price })}
            />
            {lines.length > 1 && (
              <button
                type="button"
                class="plain icon"
                aria-label={`${t("remove")}: ${line.name}`}
                onClick={() => change({ lines: lines.filter((_, other) => other !== index) })}
              >
                ×
              </button>
            )}
          </fieldset>
        ))}
        <div class="line wrapped">
          <button type="button" class="quiet" disabled={isBusy.value} onClick={() => change({ lines: [...lines, EMPTY] })}>
            {t("addLine")}
          </button>
          {products.value.length > 0 && (
            <select
              aria-label={t("addProduct")}
              value=""
              disabled={isBusy.value}
              onChange={(event) => {
                addProduct(event.currentTarget.value);
                event.currentTarget.value = "";
              }}
            >
              <option value="">{t("addProduct")}</option>
              {products.value
                .filter((product) => product.currency === currency)
                .map((product) => (
                  <option key={product.id} value={product.id}>
                    {`${product.name}: ${money(product.price, product.currency)}`}
                  </option>
                ))}
            </select>
          )}
        </div>
        <Field
          label={`${t("description")} (${t("optional")})`}
          value={description}
          maxLength={500}
          disabled={isBusy.value}
          onInput={(text) => change({ description: text })}
        />
        <label class="check">
          <input
            type="checkbox"
            checked={holdOnly}
            disabled={isBusy.value}
            onChange={(event) => change({ holdOnly: event.currentTarget.checked })}
          />
          {t("holdOnly")}
        </label>
        <Fate isWaiting={isWaiting.value} error={error.value} />
        <button type="submit" class="wide" disabled={isBusy.value}>
          {total.value ? t("placeOrder", { amount: money(total.value, currency) }) : t("place")}
        </button>
      </Form>
    </section>
  );
}

function count({ quantity }: Line): number | undefined {
  return /^[1-9]\d{0,5}$/.test(quantity) ? Number(quantity) : undefined;
}
