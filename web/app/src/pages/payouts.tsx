import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, type Payout } from "../api/client";
import { minor, money } from "../format";
import { t } from "../i18n";
import { useDraft, useIntent } from "../intent";
import { account, loadAccount, payouts, setPayout } from "../stores";
import { toast } from "../toasts";
import { Badge, Choice, Fate, Field, Form, Listing, Moment, Problem } from "../ui";
import { Balance } from "./wallet";

export function PayoutsPage() {
  useEffect(() => {
    void payouts.load();
    void loadAccount().catch(() => undefined);
  }, []);
  return (
    <>
      <h1>{t("payouts")}</h1>
      <div class="columns wide-first">
        <section>
          <h2>{t("yourPayouts")}</h2>
          <Listing list={payouts} empty={t("noPayouts")} class="rows card">
            {(payout) => <PayoutLine key={payout.id} payout={payout} />}
          </Listing>
        </section>
        <div class="stack">
          <Balance />
          <NewPayout />
        </div>
      </div>
    </>
  );
}

export function PayoutLine({ payout }: { payout: Payout }) {
  const error = useSignal<unknown>(undefined);
  const { id, recipient, etag } = payout;
  async function cancel(): Promise<void> {
    if (!confirm(t("confirmCancelPayout"))) return;
    error.value = undefined;
    try {
      const path = { payout_id: id };
      setPayout(await call("patch", "/payouts/{payout_id}", { path, etag, body: { status: "CANCELED" } }));
      void loadAccount().catch(() => undefined);
    } catch (problem) {
      error.value = problem;
    }
  }
  return (
    <li>
      <div>
        <span>{recipient?.card?.number ?? recipient?.bank_account?.iban ?? recipient?.phone?.number}</span>
        <small>
          <Moment at={payout.created_at} /> {payout.comment}
        </small>
        {payout.failure_reason && <small>{payout.failure_reason}</small>}
        <Problem error={error.value} />
      </div>
      <div class="end">
        <b>{money(payout.amount, payout.currency)}</b>
        <Badge status={payout.status} />
        {payout.status === "PENDING" && (
          <button type="button" class="plain" onClick={() => void cancel()}>
            {t("cancel")}
          </button>
        )}
      </div>
    </li>
  );
}

interface Draft {
  amount: string;
  kind: "CARD" | "BANK_ACCOUNT" | "PHONE";
  number: string;
  holder: string;
  comment: string;
}

interface NewPayoutBody {
  amount: string;
  currency: string;
  comment: string;
  recipient: {
    type: Draft["kind"];
    card?: { number: string };
    bank_account?: { iban: string; holder_name: string };
    phone?: { number: string };
  };
}

const BLANK: Draft = { amount: "", kind: "CARD", number: "", holder: "", comment: "" };

function NewPayout() {
  const draft = useDraft("payout", BLANK);
  const isWrong = useSignal(false);
  const currency = account.value?.currency ?? "RUB";
  const { amount, kind, number, holder, comment } = draft.value.value;
  const { isBusy, isWaiting, error, submit } = useIntent<NewPayoutBody, Payout>(
    "payout",
    (body, key) => call("post", "/payouts", { key, body }),
    (payout) => {
      setPayout(payout);
      void loadAccount().catch(() => undefined);
      draft.clear();
      toast(t("payoutAccepted"));
    },
  );

  function send(): void {
    const units = minor(amount, currency);
    isWrong.value = units === undefined;
    if (units === undefined) return;
    const recipient = {
      type: kind,
      ...(kind === "CARD" && { card: { number } }),
      ...(kind === "BANK_ACCOUNT" && { bank_account: { iban: number, holder_name: holder } }),
      ...(kind === "PHONE" && { phone: { number } }),
    };
    submit({ amount: units.toString(), currency, comment, recipient });
  }

  const change = (values: Partial<Draft>) => draft.set({ ...draft.value.value, ...values });
  const label = { CARD: t("cardNumber"), BANK_ACCOUNT: t("iban"), PHONE: t("phoneNumber") }[kind];
  return (
    <section class="card">
      <h2>{t("newPayout")}</h2>
      <Form onSubmit={send}>
        <div class="line">
          <Field
            label={`${t("amount")}, ${currency}`}
            inputMode="decimal"
            value={amount}
            disabled={isBusy.value}
            wrong={isWrong.value ? t("badAmount") : undefined}
            onInput={(text) => change({ amount: text })}
          />
          <Choice
            label={t("recipient")}
            value={kind}
            options={[
              ["CARD", t("card")],
              ["BANK_ACCOUNT", t("bankAccount")],
              ["PHONE", t("phone")],
            ]}
            onChange={(other) => change({ kind: other, number: "" })}
          />
        </div>
        <Field
          label={label}
          value={number}
          disabled={isBusy.value}
          autoComplete="off"
          maxLength={kind === "PHONE" ? 16 : 40}
          inputMode={kind === "BANK_ACCOUNT" ? "text" : "tel"}
          onInput={(text) => change({ number: text })}
        />
        {kind === "BANK_ACCOUNT" && (
          <Field label={t("holderName")} value={holder} disabled={isBusy.value} onInput={(text) => change({ holder: text })} />
        )}
        <Field
          label={`${t("comment")} (${t("optional")})`}
          value={comment}
          maxLength={500}
          disabled={isBusy.value}
          onInput={(text) => change({ comment: text })}
        />
        <Fate isWaiting={isWaiting.value} error={error.value} />
        <button type="submit" class="wide" disabled={isBusy.value || !number}>
          {t("payOut")}
        </button>
      </Form>
    </section>
  );
}
