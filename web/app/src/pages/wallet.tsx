import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, Refused, type Account, type Entry } from "../api/client";
import { minor, money } from "../format";
import { t } from "../i18n";
import { useDraft, useIntent } from "../intent";
import { userId } from "../session";
import { account, entries, loadAccount, setAccount } from "../stores";
import { toast } from "../toasts";
import { Choice, Fate, Field, Form, Listing, Moment, Skeleton } from "../ui";

const CURRENCIES = ["RUB", "USD", "EUR"] as const;
const QUICK = ["500", "1000", "5000"];

export function WalletPage() {
  useEffect(() => {
    void loadAccount().catch(() => undefined);
    void entries.load();
  }, []);
  return (
    <>
      <h1>{t("wallet")}</h1>
      <div class="columns">
        <Balance />
        <AddFunds />
      </div>
      <section>
        <h2>{t("statement")}</h2>
        <Listing list={entries} empty={t("noEntries")} class="rows card">
          {(entry) => <Line key={entry.number} entry={entry} />}
        </Listing>
      </section>
    </>
  );
}

export function Balance() {
  const known = account.value;
  if (known === undefined) return <section class="balance"><Skeleton /></section>;
  const currency = known?.currency ?? "RUB";
  return (
    <section class="balance" aria-label={t("balance")}>
      <span>{t("available")}</span>
      <strong data-testid="available">{money(known?.available ?? "0", currency)}</strong>
      {known ? (
        <dl>
          <div>
            <dt>{t("balance")}</dt>
            <dd data-testid="balance">{money(known.balance, currency)}</dd>
          </div>
          <div>
            <dt>{t("held")}</dt>
            <dd data-testid="held">{money(known.held, currency)}</dd>
          </div>
        </dl>
      ) : (
        <p>{t("noAccount")}</p>
      )}
    </section>
  );
}

interface Funds {
  amount: string;
  currency: string;
}

function AddFunds() {
  const draft = useDraft("funds", { amount: "", currency: "RUB" });
  const isWrong = useSignal(false);
  const added = useRef("0");
  const currency = account.value?.currency ?? draft.value.value.currency;
  const { isBusy, isWaiting, error, submit } = useIntent<Funds, Account>("funds", send, (fresh) => {
    setAccount(fresh);
    void entries.load();
    draft.clear();
    toast(t("fundsAdded", { amount: money(added.current, fresh.currency) }), "good");
  });

  function send(funds: Funds, key: string): Promise<Account> {
    added.current = funds.amount;
    return pay(funds, key);
  }

  function begin(): void {
    const amount = minor(draft.value.value.amount, currency);
    isWrong.value = amount === undefined;
    if (amount !== undefined) submit({ amount: amount.toString(), currency });
  }

  const change = (values: Partial<Funds>) => draft.set({ ...draft.value.value, ...values });
  return (
    <section class="card">
      <h2>{t("addFunds")}</h2>
      <Form onSubmit={begin}>
        <div class="line">
          <Field
            label={t("amount")}
            inputMode="decimal"
            value={draft.value.value.amount}
            disabled={isBusy.value}
            wrong={isWrong.value ? t("badAmount") : undefined}
            onInput={(amount) => change({ amount })}
          />
          {!account.value && (
            <Choice
              label={t("currency")}
              value={currency}
              options={CURRENCIES.map((name) => [name, name] as const)}
              onChange={(name) => change({ currency: name })}
            />
          )}
        </div>
        <div class="chips">
          {QUICK.map((amount) => (
            <button key={amount} type="button" class="chip" disabled={isBusy.value} onClick={() => change({ amount })}>
              {money(amount + "00", currency).replace(/[.,]00(?!\d)/, "")}
            </button>
          ))}
        </div>
        <Fate isWaiting={isWaiting.value} error={error.value} />
        <button type="submit" class="wide" disabled={isBusy.value}>
          {t("addFunds")}
        </button>
      </Form>
    </section>
  );
}

/** Pays in, into an account that is opened when there is none. */
async function pay({ amount, currency }: Funds, key: string): Promise<Account> {
  const path = { user_id: userId.value ?? "" };
  const deposit = () => call("post", "/accounts/{user_id}/deposit", { path, key, body: { amount } });
  try {
    return await deposit();
  } catch (problem) {
    if (!(problem instanceof Refused && problem.reason === "ACCOUNT_NOT_FOUND")) throw problem;
  }
  try {
    await call("post", "/accounts/{user_id}", { path, body: { currency } });
  } catch (problem) {
    if (!(problem instanceof Refused && problem.reason === "ACCOUNT_EXISTS")) throw problem;
  }
  return deposit();
}

function Line({ entry }: { entry: Entry }) {
  const currency = account.value?.currency ?? "RUB";
  const isHold = entry.amount === "0";
  const change = isHold ? entry.held_amount : entry.amount;
  const to = entry.order_id ? `#/orders/${entry.order_id}` : entry.payout_id ? "#/payouts" : undefined;
  return (
    <li>
      <div>
        {to ? <a href={to}>{t(`entry.${entry.kind}`)}</a> : <span>{t(`entry.${entry.kind}`)}</span>}
        <small>
          <Moment at={entry.created_at} />
        </small>
      </div>
      <div class="end">
        <b class={isHold ? "muted" : BigInt(change) > 0n ? "plus" : ""}>{money(change, currency, { sign: !isHold })}</b>
        <small>{money(entry.balance, currency)}</small>
      </div>
    </li>
  );
}
