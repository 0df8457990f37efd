import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Refused } from "../api/client";
import { t } from "../i18n";
import { signIn, signUp } from "../session";
import { Field, Form, Problem } from "../ui";

export function SignInPage({ settings }: { settings: ComponentChildren }) {
  const isNew = useSignal(false);
  const email = useSignal("");
  const password = useSignal("");
  const username = useSignal("");
  const isBusy = useSignal(false);
  const error = useSignal<unknown>(undefined);

  async function submit(): Promise<void> {
    if (isBusy.value) return;
    isBusy.value = true;
    error.value = undefined;
    try {
      if (isNew.value) await signUp(email.value, password.value, username.value);
      else await signIn(email.value, password.value);
    } catch (problem) {
      error.value = problem;
    } finally {
      isBusy.value = false;
    }
  }

  const wrong = (field: string) => (error.value instanceof Refused ? error.value.fields.get(field) : undefined);
  const title = isNew.value ? t("signUp") : t("signIn");
  return (
    <main class="door">
      <section class="card">
        <img src="/favicon.svg" alt="" width="56" height="56" />
        <h1>{t("appName")}</h1>
        <p class="quiet-text">{t("tagline")}</p>
        <Form onSubmit={() => void submit()}>
          <Field
            label={t("email")}
            type="email"
            name="email"
            autoComplete="username"
            inputMode="email"
            required
            value={email.value}
            wrong={wrong("email")}
            onInput={(value) => (email.value = value)}
          />
          {isNew.value && (
            <Field
              label={`${t("username")} (${t("optional")})`}
              name="username"
              autoComplete="nickname"
              value={username.value}
              wrong={wrong("username")}
              onInput={(value) => (username.value = value)}
            />
          )}
          <Field
            label={t("password")}
            type="password"
            name="password"
            autoComplete={isNew.value ? "new-password" : "current-password"}
            required
            value={password.value}
            wrong={wrong("password")}
            {...(isNew.value && { hint: t("passwordHint") })}
            onInput={(value) => (password.value = value)}
          />
          <Problem error={error.value} />
          <button type="submit" class="wide" disabled={isBusy.value || !email.value || !password.value}>
            {title}
          </button>
        </Form>
        <button type="button" class="plain" onClick={() => (isNew.value = !isNew.value)}>
          {isNew.value ? t("haveAccount") : t("needAccount")}
        </button>
      </section>
      {settings}
    </main>
  );
}
