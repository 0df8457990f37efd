import { useEffect, useMemo } from "preact/hooks";
import { call, type Payout } from "../api/client";
import { money } from "../format";
import { t } from "../i18n";
import { List, SHORT_PAGE } from "../stores";
import { ASK_SECONDS, Badge, Listing, Moment, useEvery } from "../ui";
import { Shipping } from "./admin-orders";
import { Products } from "./admin-products";

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

function Payouts() {
  const list = useMemo(
    () =>
      new List<Payout>(async (page_token, page_size) => {
        const found = await call("get", "/payouts", { query: { page_size, page_token } });
        return { items: found.payouts, next: found.next_page_token };
      }, SHORT_PAGE),
    [],
  );
  useEffect(() => void list.load(), []);
  useEvery(ASK_SECONDS, () => void list.refresh());
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
