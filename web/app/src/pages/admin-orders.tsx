import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call, Refused, type Order } from "../api/client";
import { money } from "../format";
import { t } from "../i18n";
import { go } from "../router";
import { List, SHORT_PAGE } from "../stores";
import { toast } from "../toasts";
import { ASK_SECONDS, Field, FilteredTitle, Form, Listing, Problem, useEvery } from "../ui";
import { OrderLine, titleOf } from "./orders";

export function Shipping() {
  return (
    <div class="columns wide-first">
      <ToShip />
      <Search />
    </div>
  );
}

type Shippable = "PAID" | "AUTHORIZED";

function ToShip() {
  const status = useSignal<Shippable>("PAID");
  const list = useMemo(
    () =>
      new List<Order>(async (page_token, page_size) => {
        const query = { page_size, page_token, status: status.value };
        const found = await call("get", "/orders/user/{user_id}", { path: { user_id: "-" }, query });
        return { items: found.orders, next: found.next_page_token };
      }, SHORT_PAGE),
    [],
  );
  useEffect(() => void list.load(), []);
  useEvery(ASK_SECONDS, () => void list.refresh());
  function choose(other: Shippable): void {
    status.value = other;
    list.clear();
    void list.load();
  }
  const sent = (order: Order) => {
    // Otherwise its money is still being taken, and it is here again if that does not work.
    if (order.status === "SHIPPED") toast(t("order.shipped", { amount: money(order.total_price, order.currency) }), "good");
    list.change((known) => known.filter(({ id }) => id !== order.id));
  };
  return (
    <section>
      <FilteredTitle<Shippable>
        title={t("toShip")}
        label={t("status")}
        value={status.value}
        options={[
          ["PAID", t("status.PAID")],
          ["AUTHORIZED", t("status.AUTHORIZED")],
        ]}
        onChange={choose}
      />
      <Listing list={list} empty={t("noneToShip")} class="rows card">
        {(order) => <Parcel key={order.id} order={order} onSent={sent} />}
      </Listing>
    </section>
  );
}

function Parcel({ order, onSent }: { order: Order; onSent: (order: Order) => void }) {
  const isBusy = useSignal(false);
  const error = useSignal<unknown>(undefined);
  async function ship(): Promise<void> {
    isBusy.value = true;
    error.value = undefined;
    try {
      onSent(await call("patch", "/orders/{order_id}", { path: { order_id: order.id }, body: { status: "SHIPPED" } }));
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
  }
  return (
    <OrderLine order={order}>
      <button
        type="button"
        class="plain"
        disabled={isBusy.value}
        aria-label={`${t("ship")}: ${titleOf(order)}`}
        onClick={() => void ship()}
      >
        {t("ship")}
      </button>
      <Problem error={error.value} />
    </OrderLine>
  );
}

/** Finds an order by its id, or the orders of a user by that of the user. */
function Search() {
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
      <h2>{t("search")}</h2>
      <Form class="line" onSubmit={() => void find()}>
        <Field
          label={t("orderOrUserId")}
          hint={t("searchHint")}
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
