import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { call, Refused, type Product } from "../api/client";
import { decimal, minor, money } from "../format";
import { t } from "../i18n";
import { useIntent } from "../intent";
import { List, SHORT_PAGE } from "../stores";
import { toast } from "../toasts";
import { Choice, Fate, Field, Form, Listing, Problem } from "../ui";

type Type = "CONSUMABLE" | "PERMANENT";

export function Products() {
  const list = useMemo(
    () =>
      new List<Product>(async (page_token, page_size) => {
        const found = await call("get", "/products", { query: { page_size, page_token } });
        return { items: found.products, next: found.next_page_token };
      }, SHORT_PAGE),
    [],
  );
  useEffect(() => void list.load(), []);
  const change = (fresh: Product) =>
    list.change((known) => known.map((product) => (product.id === fresh.id ? fresh : product)));
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
  const isOpen = useSignal(false);
  const { name, price, currency, type } = product;
  return (
    <li>
      <div>
        <span>{name}</span>
        <small>{`${money(price, currency)} · ${type === "PERMANENT" ? t("permanent") : t("consumable")}`}</small>
      </div>
      <div class="end">
        <span class={product.is_active ? "badge paid" : "badge"}>{product.is_active ? t("onSale") : t("offSale")}</span>
        <button
          type="button"
          class="plain"
          aria-expanded={isOpen.value}
          aria-label={`${t("edit")}: ${name}`}
          onClick={() => (isOpen.value = !isOpen.value)}
        >
          {isOpen.value ? t("close") : t("edit")}
        </button>
      </div>
      {isOpen.value && <EditProduct product={product} onChange={onChange} onDone={() => (isOpen.value = false)} />}
    </li>
  );
}

interface EditProductProps {
  product: Product;
  onChange: (fresh: Product) => void;
  onDone: () => void;
}

function EditProduct({ product, onChange, onDone }: EditProductProps) {
  const { id, etag, currency } = product;
  const name = useSignal(product.name);
  const description = useSignal(product.description);
  const price = useSignal(decimal(product.price, currency));
  const isActive = useSignal(product.is_active);
  const isWrong = useSignal(false);
  const isBusy = useSignal(false);
  const error = useSignal<unknown>(undefined);
  const path = { product_id: id };

  async function save(): Promise<void> {
    const units = minor(price.value, currency);
    isWrong.value = units === undefined;
    if (units === undefined || isBusy.value) return;
    isBusy.value = true;
    error.value = undefined;
    const body = { name: name.value, description: description.value, price: units.toString(), is_active: isActive.value };
    try {
      onChange(await call("patch", "/products/{product_id}", { path, etag, body }));
      toast(t("productSaved", { name: body.name }), "good");
      onDone();
    } catch (problem) {
      error.value = problem;
      // What it is now shows above; whoever saves again has seen it.
      if (problem instanceof Refused && problem.reason === "STALE_ETAG")
        await call("get", "/products/{product_id}", { path }).then(onChange, () => undefined);
    }
    isBusy.value = false;
  }

  return (
    <Form class="below" onSubmit={() => void save()}>
      <Field label={t("name")} maxLength={200} value={name.value} onInput={(text) => (name.value = text)} />
      <Field
        label={`${t("description")} (${t("optional")})`}
        maxLength={2000}
        value={description.value}
        onInput={(text) => (description.value = text)}
      />
      <Field
        label={`${t("price")}, ${currency}`}
        inputMode="decimal"
        value={price.value}
        wrong={isWrong.value ? t("badAmount") : undefined}
        onInput={(text) => (price.value = text)}
      />
      <label class="check">
        <input type="checkbox" checked={isActive.value} onChange={(event) => (isActive.value = event.currentTarget.checked)} />
        {t("onSale")}
      </label>
      <Problem error={error.value} />
      <button type="submit" disabled={isBusy.value || !name.value}>
        {t("save")}
      </button>
    </Form>
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
