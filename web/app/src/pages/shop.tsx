import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call, type Product, type Purchase } from "../api/client";
import { money } from "../format";
import { t } from "../i18n";
import { useIntent } from "../intent";
import { account, inventory, List, loadAccount } from "../stores";
import { toast } from "../toasts";
import { Fate, Listing } from "../ui";

export function ShopPage() {
  const products = useMemo(
    () =>
      new List<Product>(async (page_token) => {
        const found = await call("get", "/products", { query: { page_size: 24, page_token, is_active: true } });
        return { items: found.products, next: found.next_page_token };
      }),
    [],
  );
  const popular = useSignal<string[]>([]);
  useEffect(() => {
    void products.load();
    void inventory.load();
    if (account.value === undefined) void loadAccount().catch(() => undefined);
    call("get", "/analytics/popular-products").then(
      (found) => (popular.value = found.products.map(({ product }) => product?.id ?? "")),
      () => undefined,
    );
  }, []);
  return (
    <>
      <div class="title">
        <h1>{t("shop")}</h1>
        {account.value && (
          <a class="pill" href="#/wallet">
            {t("available")}: <b>{money(account.value.available, account.value.currency)}</b>
          </a>
        )}
      </div>
      <Listing list={products} empty={t("noProducts")} class="shelf">
        {(product) => <Offer key={product.id} product={product} isPopular={popular.value.includes(product.id)} />}
      </Listing>
    </>
  );
}

function Offer({ product, isPopular }: { product: Product; isPopular: boolean }) {
  const { id, name, price, currency, type } = product;
  const { isBusy, isWaiting, error, submit } = useIntent<number, Purchase>(
    `buy.${id}`,
    (quantity, key) =>
      call("post", "/products/{product_id}/purchase", { path: { product_id: id }, key, body: { quantity: String(quantity) } }),
    () => toast(t("bought", { name }), "good", "#/inventory"),
  );
  const quantity = useSignal(1);
  const owned = inventory.items.value?.find(({ product_id }) => product_id === id)?.quantity ?? "0";
  const isMine = type === "PERMANENT" && owned !== "0";
  return (
    <li class="card offer">
      <div class="tags">
        <span class="tag">{type === "PERMANENT" ? t("permanent") : t("consumable")}</span>
        {isPopular && <span class="tag hot">{t("popular")}</span>}
      </div>
      <h2>{name}</h2>
      <p class="quiet-text">{product.description}</p>
      <Fate isWaiting={isWaiting.value} error={error.value} />
      <div class="foot">
        <b class="price">{money(BigInt(price) * BigInt(quantity.value), currency)}</b>
        {isMine ? (
          <span class="mine">✓ {t("owned")}</span>
        ) : (
          <>
            {type === "CONSUMABLE" && (
              <span class="stepper" role="group" aria-label={`${t("quantity")}: ${name}`}>
                <button type="button" class="plain" aria-label="−" disabled={quantity.value < 2} onClick={() => quantity.value--}>
                  −
                </button>
                <output>{quantity.value}</output>
                <button type="button" class="plain" aria-label="+" disabled={quantity.value > 98} onClick={() => quantity.value++}>
                  +
                </button>
              </span>
            )}
            <button type="button" disabled={isBusy.value} aria-label={`${t("buy")}: ${name}`} onClick={() => submit(quantity.value)}>
              {t("buy")}
            </button>
          </>
        )}
      </div>
      {!isMine && owned !== "0" && <small>{t("ownedCount", { count: owned })}</small>}
    </li>
  );
}
