import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, type Order, type OrderChange } from "../api/client";
import { money } from "../format";
import { t } from "../i18n";
import { listen } from "../live";
import { isAdmin, userId } from "../session";
import { setOrder } from "../stores";
import { ASK_SECONDS, Badge, Moment, Problem, Skeleton, useEvery } from "../ui";
import { titleOf } from "./orders";

export function OrderPage({ id }: { id: string }) {
  const order = useSignal<Order | undefined>(undefined);
  const changes = useSignal<OrderChange[]>([]);
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);

  async function load(): Promise<void> {
    const path = { order_id: id };
    try {
      const [found, history] = await Promise.all([
        call("get", "/orders/{order_id}", { path }),
        call("get", "/orders/{order_id}/history", { path }),
      ]);
      show(found);
      if (history.changes.length >= changes.value.length) changes.value = history.changes;
    } catch (problem) {
      error.value = problem;
    }
  }

  function show(fresh: Order): void {
    if (!order.value || Number(fresh.etag) >= Number(order.value.etag)) order.value = fresh;
    if (fresh.user_id === userId.value) setOrder(fresh);
  }

  useEffect(() => {
    void load();
    return listen((news) => {
      if (news.type === "resync" || ("id" in news.data && news.data.id === id)) void load();
    });
  }, []);

  // An administrator is not told of what others order.
  useEvery(ASK_SECONDS, () => order.value && order.value.user_id !== userId.value && void load());

  async function act(change: () => Promise<Order>): Promise<void> {
    if (isBusy.value) return;
    isBusy.value = true;
    error.value = undefined;
    try {
      show(await change());
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
    void load();
  }

  const cancel = () =>
    confirm(t("confirmCancelOrder")) &&
    void act(() => call("post", "/orders/{order_id}:cancel", { path: { order_id: id }, body: {} }));
  const ship = () =>
    void act(() => call("patch", "/orders/{order_id}", { path: { order_id: id }, body: { status: "SHIPPED" } }));

  const known = order.value;
  if (!known) return error.value === undefined ? <Skeleton /> : <Problem error={error.value} />;
  const { status, currency } = known;
  const isOpen = status === "PENDING" || status === "PAID" || status === "AUTHORIZED";
  return (
    <>
      <a class="back" href="#/orders">
        ← {t("orders")}
      </a>
      <div class="title">
        <h1>{titleOf(known)}</h1>
        <span data-testid="status">
          <Badge status={status} />
        </span>
      </div>
      <div class="columns">
        <section class="card">
          <h2>{t("items")}</h2>
          <ul class="rows">
            {known.items.map((item, index) => (
              <li key={index}>
                <div>
                  <span>{item.name}</span>
                  <small>{`${item.quantity} × ${money(item.price, currency)}`}</small>
                </div>
                <b>{money(BigInt(item.price) * BigInt(item.quantity), currency)}</b>
              </li>
            ))}
          </ul>
          <dl class="sums">
            <div class="sum">
              <dt>{t("total")}</dt>
              <dd>{money(known.total_price, currency)}</dd>
            </div>
            {known.paid_price !== "0" && (
              <div>
                <dt>{t("paidPrice")}</dt>
                <dd>{money(known.paid_price, currency)}</dd>
              </div>
            )}
            {known.refunded_price !== "0" && (
              <div>
                <dt>{t("refundedPrice")}</dt>
                <dd>{money(known.refunded_price, currency)}</dd>
              </div>
            )}
          </dl>
          <Problem error={error.value} />
          {isOpen && known.user_id === userId.value && (
            <button type="button" class="quiet wide" disabled={isBusy.value} onClick={cancel}>
              {t("cancelOrder")}
            </button>
          )}
          {isAdmin.value && (status === "PAID" || status === "AUTHORIZED") && (
            <button type="button" class="wide" disabled={isBusy.value} onClick={ship}>
              {t("ship")}
            </button>
          )}
          <small class="id">{known.id}</small>
        </section>
        <section class="card">
          <h2>{t("history")}</h2>
          <ol class="timeline">
            {changes.value.map((change, index) => (
              <li key={index} class={change.status.toLowerCase()}>
                <b>{change.cause === "PROCESSING" ? t("processed") : t(`status.${change.status}`)}</b>
                <small>
                  <Moment at={change.changed_at} />
                  {change.cause !== "PROCESSING" && ` · ${t(`cause.${change.cause}`)}`}
                </small>
                {change.cancel_reason !== "CANCEL_REASON_UNSPECIFIED" && <p>{t(`cancel.${change.cancel_reason}`)}</p>}
                {change.refunded !== "0" && <p>{`${t("refundedPrice")}: ${money(change.refunded, currency)}`}</p>}
              </li>
            ))}
          </ol>
        </section>
      </div>
    </>
  );
}
