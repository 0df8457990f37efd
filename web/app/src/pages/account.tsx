import { useSignal } from "@preact/signals";
import { call, Refused } from "../api/client";
import { t } from "../i18n";
import { changePassword, me } from "../session";
import { toast } from "../toasts";
import { Field, Form, Problem, Skeleton } from "../ui";

export function AccountPage() {
  const known = me.value;
  return (
    <>
      <h1>{t("account")}</h1>
      {known ? (
        <div class="columns">
          <Name key={known.etag} />
          <Password />
        </div>
      ) : (
        <Skeleton />
      )}
    </>
  );
}

function Name() {
  const name = useSignal(me.peek()?.username ?? "");
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);

  async function save(): Promise<void> {
    isBusy.value = true;
    error.value = undefined;
    try {
      me.value = await call("patch", "/users/me", { etag: me.value?.etag ?? "", body: { username: name.value } });
      toast(t("saved"), "good");
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
  }

  return (
    <section class="card">
      <h2>{t("whoYouAre")}</h2>
      <Form onSubmit={() => void save()}>
        <Field label={t("email")} value={me.value?.email ?? ""} readOnly onInput={() => undefined} />
        <Field
          label={t("username")}
          autoComplete="nickname"
          maxLength={64}
          value={name.value}
          onInput={(text) => (name.value = text)}
        />
        <Problem error={error.value} />
        <button type="submit" disabled={isBusy.value || name.value === me.value?.username}>
          {t("save")}
        </button>
      </Form>
    </section>
  );
}

function Password() {
  const current = useSignal("");
  const fresh = useSignal("");
  const error = useSignal<unknown>(undefined);
  const isBusy = useSignal(false);

  async function save(): Promise<void> {
    isBusy.value = true;
    error.value = undefined;
    try {
      await changePassword(current.value, fresh.value);
      current.value = fresh.value = "";
      toast(t("passwordChanged"), "good");
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
  }

  const isRefused = error.value instanceof Refused && error.value.fields.has("new_password");
  return (
    <section class="card">
      <h2>{t("password")}</h2>
      <Form onSubmit={() => void save()}>
        <Field
          label={t("currentPassword")}
          type="password"
          autoComplete="current-password"
          value={current.value}
          onInput={(text) => (current.value = text)}
        />
        <Field
          label={t("newPassword")}
          type="password"
          autoComplete="new-password"
          value={fresh.value}
          wrong={isRefused ? t("passwordHint") : undefined}
          hint={t("passwordHint")}
          onInput={(text) => (fresh.value = text)}
        />
        <Problem error={error.value} />
        <button type="submit" disabled={isBusy.value || !current.value || !fresh.value}>
          {t("changePassword")}
        </button>
        <small>{t("changePasswordHint")}</small>
      </Form>
    </section>
  );
}
