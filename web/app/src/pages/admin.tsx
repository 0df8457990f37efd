import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call, Refused, type Order, type Payout, type Product } from "../api/client";
import { minor, money } from "../format";
import { t } from "../i18n";
import { useIntent } from "../intent";
import { go } from "../router";
import { List } from "../stores";
import { toast } from "../toasts";
import { Badge, Choice, Fate, Field, Form, Listing, Moment, Problem } from "../ui";
import { OrderLine } from "./orders";

const PAGE_SIZE = 20;

export function AdminPage() {
  return (
    <>
      <h1>{t("admin")}</h1>
      <Shipping />
      <Products />
      <Payouts />
    </>
  );
}

/** There is no list of everybody's orders: who ships has the id of the order, or of who ordered. */
function Shipping() {
  const id = useSignal("");
  const found = useSignal<Order[] | undefined>(undefined);
  const error = useSignal<unknown>(undefined);

  async function find(): Promise<void> {
    const text = id.value.trim();
    error.value = undefined;
    found.value = undefined;
    try {
      await call("get", "/orders/{order_id}", { path: { order_id: text } });
      return go(`/orders/${text}`);
    } catch (problem) {
      if (!(problem instanceof Refused && problem.reason === "ORDER_NOT_FOUND")) return void (error.value = problem);
    }
    try {
      const page = await call("get", "/orders/user/{user_id}", { path: { user_id: text }, query: { page_size: 50 } });
      found.value = page.orders;
    } catch (problem) {
      error.value = problem;
    }
  }

  return (
    <section class="card">
      <h2>{t("shipping")}</h2>
      <Form class="line" onSubmit={() => void find()}>
        <Field
          label={t("orderOrUserId")}
          hint={t("shippingHint")}
          autoComplete="off"
          value={id.value}
          onInput={(text) => (id.value = text)}
        />
        <button type="submit" disabled={!id.value.trim()}>
          {t("find")}
        </button>
      </Form>
      <Problem error={error.value} />
      {found.value?.length === 0 && <p>{t("nothingFound")}</p>}
      {found.value && found.value.length > 0 && (
        <ul class="rows">
          {found.value.map((order) => (
            <OrderLine key={order.id} order={order} />
          ))}
        </ul>
      )}
    </section>
  );
}

type Type = "CONSUMABLE" | "PERMANENT";

function Products() {
  const list = useMemo(
    () =>
      new List<Product>(async (page_token) => {
        const found = await call("get", "/products", { query: { page_size: PAGE_SIZE, page_token } });
        return { items: found.products, next: found.next_page_token };
      }),
    [],
  );
  useEffect(() => void list.load(), []);
  const change = (fresh: Product) =>
    (list.items.value = list.items.value?.map((product) => (product.id === fresh.id ? fresh : product)));
  return (
    <section>
      <h2>{t("products")}</h2>
      <div class="columns wide-first">
        <div>
          <Listing list={list} empty={t("noProducts")} class="rows card">
            {(product) => <ProductLine key={product.id} product={product} onChange={change} />}
          </Listing>
        </div>
        <NewProduct onAdd={() => void list.load()} />
      </div>
    </section>
  );
}

function ProductLine({ product, onChange }: { product: Product; onChange: (fresh: Product) => void }) {
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);
  async function toggle(): Promise<void> {
    isBusy.value = true;
    error.value = undefined;
    const { id, etag, is_active } = product;
    try {
      onChange(await call("patch", "/products/{product_id}", { path: { product_id: id }, etag, body: { is_active: !is_active } }));
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
  }
  return (
    <li>
      <div>
        <span>{product.name}</span>
        <small>{`${money(product.price, product.currency)} · ${product.type === "PERMANENT" ? t("permanent") : t("consumable")}`}</small>
        <Problem error={error.value} />
      </div>
      <div class="end">
        <span class={product.is_active ? "badge paid" : "badge canceled"}>{product.is_active ? t("onSale") : t("offSale")}</span>
        <button
          type="button"
          class="plain"
          disabled={isBusy.value}
          aria-label={`${product.is_active ? t("takeOff") : t("putOn")}: ${product.name}`}
          onClick={() => void toggle()}
        >
          {product.is_active ? t("takeOff") : t("putOn")}
        </button>
      </div>
    </li>
  );
}

interface NewProductBody {
  name: string;
  description: string;
  price: string;
  currency: string;
  type: Type;
  is_active: boolean;
}

function NewProduct({ onAdd }: { onAdd: () => void }) {
  const name = useSignal("");
  const description = useSignal("");
  const price = useSignal("");
  const type = useSignal<Type>("CONSUMABLE");
  const isWrong = useSignal(false);
  const { isBusy, isWaiting, error, submit } = useIntent<NewProductBody, Product>(
    "product",
    (body, key) => call("post", "/products", { key, body }),
    (product) => {
      name.value = description.value = price.value = "";
      toast(t("productSaved", { name: product.name }), "good");
      onAdd();
    },
  );
  function send(): void {
    const units = minor(price.value, "RUB");
    isWrong.value = units === undefined;
    if (units === undefined || !name.value) return;
    const words = { name: name.value, description: description.value };
    submit({ ...words, price: units.toString(), currency: "RUB", type: type.value, is_active: true });
  }
  return (
    <section class="card">
      <h3>{t("newProduct")}</h3>
      <Form onSubmit={send}>
        <Field label={t("name")} maxLength={200} value={name.value} onInput={(text) => (name.value = text)} />
        <Field
          label={`${t("description")} (${t("optional")})`}
          maxLength={2000}
          value={description.value}
          onInput={(text) => (description.value = text)}
        />
        <div class="line">
          <Field
            label={`${t("price")}, RUB`}
            inputMode="decimal"
            value={price.value}
            wrong={isWrong.value ? t("badAmount") : undefined}
            onInput={(text) => (price.value = text)}
          />
          <Choice<Type>
            label={t("type")}
            value={type.value}
            options={[
              ["CONSUMABLE", t("consumable")],
              ["PERMANENT", t("permanent")],
            ]}
            onChange={(other) => (type.value = other)}
          />
        </div>
        <Fate isWaiting={isWaiting.value} error={error.value} />
        <button type="submit" class="wide" disabled={isBusy.value || !name.value}>
          {t("add")}
        </button>
      </Form>
    </section>
  );
}

function Payouts() {
  const list = useMemo(
    () =>
      new List<Payout>(async (page_token) => {
        const found = await call("get", "/payouts", { query: { page_size: PAGE_SIZE, page_token } });
        return { items: found.payouts, next: found.next_page_token };
      }),
    [],
  );
  useEffect(() => void list.load(), []);
  return (
    <section>
      <h2>{t("allPayouts")}</h2>
      <Listing list={list} empty={t("noPayouts")} class="rows card">
        {(payout) => (
          <li key={payout.id}>
            <div>
              <span class="id">{payout.user_id}</span>
              <small>
                <Moment at={payout.created_at} />
              </small>
            </div>
            <div class="end">
              <b>{money(payout.amount, payout.currency)}</b>
              <Badge status={payout.status} />
            </div>
          </li>
        )}
      </Listing>
    </section>
  );
}
