// The frame around the views: who is signed in, where one can go, whether the socket is there.
import { useSignalEffect } from "@preact/signals";
import type { ComponentChildren, FunctionComponent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { choose, language, LANGUAGES, t, type Key } from "./i18n";
import { Icon, isIcon } from "./icons";
import { connection } from "./live";
import { AccountPage } from "./pages/account";
import { AdminPage } from "./pages/admin";
import { InventoryPage } from "./pages/inventory";
import { OrderPage } from "./pages/order";
import { OrdersPage } from "./pages/orders";
import { PayoutsPage } from "./pages/payouts";
import { ShopPage } from "./pages/shop";
import { SignInPage } from "./pages/sign-in";
import { SystemPage } from "./pages/system";
import { WalletPage } from "./pages/wallet";
import { route } from "./router";
import { isAdmin, isSignedIn, loadMe, me, signOut, userId } from "./session";
import { theme, type Theme } from "./theme";
import { askToNotify, canNotify, Toasts } from "./toasts";

interface Section {
  /** Those that have an icon are in the menu. */
  name: Key;
  page: FunctionComponent;
  isForAdmins?: boolean;
}

const SECTIONS: readonly Section[] = [
  { name: "wallet", page: WalletPage },
  { name: "shop", page: ShopPage },
  { name: "inventory", page: InventoryPage },
  { name: "orders", page: OrdersPage },
  { name: "payouts", page: PayoutsPage },
  { name: "admin", page: AdminPage, isForAdmins: true },
  { name: "system", page: SystemPage, isForAdmins: true },
  { name: "account", page: AccountPage },
];

export function App() {
  useSignalEffect(() => {
    if (userId.value && me.peek()?.id !== userId.value) void loadMe().catch(() => undefined);
  });
  return (
    <>
      {isSignedIn.value ? <Frame key={userId.value} /> : <SignInPage settings={<Settings />} />}
      <Toasts />
    </>
  );
}

function Frame() {
  const sections = SECTIONS.filter(({ isForAdmins }) => !isForAdmins || isAdmin.value);
  const [name, id] = route.value;
  const section = sections.find((other) => other.name === name) ?? sections[0];
  const Page = section?.page ?? WalletPage;
  const main = useRef<HTMLElement>(null);
  const who = useRef<HTMLDetailsElement>(null);
  const path = route.value.join("/");
  const first = useRef(true);
  useEffect(() => {
    // Who uses a keyboard or listens goes on in the new view.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
    if (who.current) who.current.open = false;
    document.title = section ? `${t(section.name)} · ${t("appName")}` : t("appName");
  }, [path, language.value]);
  return (
    <div class="frame">
      <header class="side">
        <a class="skip" href={`#/${path}`} onClick={() => main.current?.focus()}>
          {t("skip")}
        </a>
        <a class="brand" href="#/wallet">
          <img src="/favicon.svg" alt="" width="32" height="32" />
          {t("appName")}
        </a>
        <nav aria-label={t("mainMenu")}>
          {sections.map(
            (other) =>
              isIcon(other.name) && (
                <a key={other.name} href={`#/${other.name}`} aria-current={other === section ? "page" : undefined}>
                  <Icon name={other.name} />
                  <span>{t(other.name)}</span>
                </a>
              ),
          )}
        </nav>
        <details ref={who} class="who">
          <summary>
            <Connection />
            <span class="name">{me.value?.username || me.value?.email || "…"}</span>
          </summary>
          <Settings>
            {canNotify.value === "default" && (
              <button type="button" class="quiet" onClick={() => void askToNotify()}>
                {t("notifyMe")}
              </button>
            )}
            <a class="quiet button" href="#/account">
              {t("account")}
            </a>
            <a class="quiet button" href="/docs">
              {t("apiDocs")}
            </a>
            <button type="button" class="quiet" onClick={() => void signOut()}>
              {t("signOut")}
            </button>
          </Settings>
        </details>
      </header>
      <main ref={main} tabIndex={-1}>
        {section?.name === "orders" && id ? <OrderPage key={id} id={id} /> : <Page key={section?.name} />}
      </main>
    </div>
  );
}

function Connection() {
  const state = connection.value;
  const text = state === "live" ? t("live") : state === "offline" ? t("offline") : t("connecting");
  return (
    <span class={`connection ${state}`} role="status">
      <i />
      {text}
    </span>
  );
}

function Settings({ children }: { children?: ComponentChildren }) {
  const themes: readonly (readonly [Theme, string])[] = [
    ["auto", t("themeAuto")],
    ["light", t("themeLight")],
    ["dark", t("themeDark")],
  ];
  return (
    <div class="settings">
      <select
        aria-label={t("language")}
        value={language.value}
        onChange={(event) => choose(event.currentTarget.value as typeof language.value)}
      >
        {LANGUAGES.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
      <select
        aria-label={t("theme")}
        value={theme.value}
        onChange={(event) => (theme.value = event.currentTarget.value as Theme)}
      >
        {themes.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
      {children}
    </div>
  );
}
