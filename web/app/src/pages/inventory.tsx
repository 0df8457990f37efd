import { useEffect } from "preact/hooks";
import { call, type InventoryItem, type Purchase } from "../api/client";
import { money } from "../format";
import { reason, t } from "../i18n";
import { useIntent } from "../intent";
import { inventory, purchases, setItem } from "../stores";
import { toast } from "../toasts";
import { Badge, Fate, Listing, Moment } from "../ui";

export function InventoryPage() {
  useEffect(() => {
    void inventory.load();
    void purchases.load();
  }, []);
  const empty = (
    <>
      <p>{t("noInventory")}</p>
      <a class="button" href="#/shop">
        {t("toShop")}
      </a>
    </>
  );
  return (
    <>
      <h1>{t("inventory")}</h1>
      <Listing list={inventory} empty={empty} class="shelf">
        {(item) => <Owned key={item.product_id} item={item} />}
      </Listing>
      <section>
        <h2>{t("purchases")}</h2>
        <Listing list={purchases} empty={t("noPurchases")} class="rows card">
          {(purchase) => <Bought key={purchase.id} purchase={purchase} />}
        </Listing>
      </section>
    </>
  );
}

function Bought({ purchase }: { purchase: Purchase }) {
  const { product_name, quantity, total_price, currency, status, failure_reason } = purchase;
  return (
    <li>
      <div>
        <span>{`${product_name} × ${quantity}`}</span>
        <small>
          <Moment at={purchase.created_at} />
        </small>
        {failure_reason && <small>{reason(failure_reason)}</small>}
      </div>
      <div class="end">
        <b>{money(total_price, currency)}</b>
        <Badge status={status} />
      </div>
    </li>
  );
}

function Owned({ item }: { item: InventoryItem }) {
  const { product_id, name, type, quantity } = item;
  const { isBusy, isWaiting, error, submit } = useIntent<number, InventoryItem>(
    `use.${product_id}`,
    (count, key) =>
      call("post", "/products/{product_id}/use", { path: { product_id }, key, body: { quantity: String(count) } }),
    (left) => {
      setItem(left);
      toast(t("used", { name }));
    },
  );
  return (
    <li class="card offer">
      <div class="tags">
        <span class="tag">{type === "PERMANENT" ? t("permanent") : t("consumable")}</span>
      </div>
      <h2>{name}</h2>
      <small>
        <Moment at={item.acquired_at} />
      </small>
      <Fate isWaiting={isWaiting.value} error={error.value} />
      <div class="foot">
        {type === "CONSUMABLE" ? (
          <>
            <b class="price">× {quantity}</b>
            <button type="button" class="quiet" disabled={isBusy.value} aria-label={`${t("use")}: ${name}`} onClick={() => submit(1)}>
              {t("use")}
            </button>
          </>
        ) : (
          <span class="mine">✓ {t("owned")}</span>
        )}
      </div>
    </li>
  );
}
