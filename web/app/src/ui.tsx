// What several views are made of.
import type { ComponentChildren } from "preact";
import { useEffect, useId } from "preact/hooks";
import { exactly, moment } from "./format";
import { explain, t } from "./i18n";
import type { List } from "./stores";

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "email" | "password";
  name?: string;
  autoComplete?: "off" | "username" | "nickname" | "new-password" | "current-password";
  inputMode?: "text" | "decimal" | "numeric" | "email" | "tel";
  maxLength?: number;
  required?: boolean;
  disabled?: boolean;
  readOnly?: boolean;
  hint?: string;
  /** What is wrong with the input. */
  wrong?: string | undefined;
}

export function Field({ label, value, onInput, hint, wrong, ...input }: FieldProps) {
  const id = useId();
  const note = wrong ?? hint;
  return (
    <div class={wrong ? "field wrong" : "field"}>
      <label for={id}>{label}</label>
      <input
        // Preact ties each type of input to its roles; here there are none.
        {...(input as object)}
        id={id}
        value={value}
        aria-invalid={wrong ? true : undefined}
        aria-describedby={note ? `${id}-note` : undefined}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {note && <small id={`${id}-note`}>{note}</small>}
    </div>
  );
}

/** What others do is told to them, and not to administrators, whose views ask. */
export const ASK_SECONDS = 5;

/** Does something again and again while the page is looked at. */
export function useEvery(seconds: number, work: () => void): void {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || work(), seconds * 1000);
    return () => clearInterval(timer);
  }, []);
}

interface ChoiceProps<V extends string> {
  label: string;
  value: V;
  options: readonly (readonly [V, string])[];
  onChange: (value: V) => void;
}

export function Choice<V extends string>({ label, value, options, onChange }: ChoiceProps<V>) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value as V)}>
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

interface FilterProps<V extends string> extends ChoiceProps<V> {
  title: string;
}

/** The heading of a list, and a choice of what it shows. */
export function FilteredTitle<V extends string>({ title, label, value, options, onChange }: FilterProps<V>) {
  return (
    <div class="title">
      <h2>{title}</h2>
      <select class="filter" aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value as V)}>
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

/** A form that is sent by Enter and by its button, and never by the browser. */
export function Form({ onSubmit, children, ...rest }: { onSubmit: () => void; children: ComponentChildren; class?: string }) {
  const submit = (event: Event) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <form {...rest} noValidate onSubmit={submit}>
      {children}
    </form>
  );
}

export function Problem({ error }: { error: unknown }) {
  return error === undefined ? null : (
    <p class="problem" role="alert">
      {explain(error)}
    </p>
  );
}

/** What became of an intent, below its form. */
export function Fate({ isWaiting, error }: { isWaiting: boolean; error: unknown }) {
  if (isWaiting) return <p class="waiting" role="status">{t("waiting")}</p>;
  return <Problem error={error} />;
}

type Status = "PENDING" | "PAID" | "AUTHORIZED" | "SHIPPED" | "CANCELED" | "PROCESSING" | "COMPLETED" | "FAILED";

export function Badge({ status }: { status: Status | "STATUS_UNSPECIFIED" }) {
  return <span class={`badge ${status.toLowerCase()}`}>{t(`status.${status}`)}</span>;
}

export function Moment({ at }: { at: string | undefined }) {
  return at ? (
    <time dateTime={at} title={exactly(at)}>
      {moment(at)}
    </time>
  ) : null;
}

interface ListingProps<T> {
  list: List<T>;
  empty: ComponentChildren;
  children: (item: T) => ComponentChildren;
  class?: string;
}

/** A list with what it says while it is read, when it is empty, and when it could not be read. */
export function Listing<T>({ list, empty, children, ...rest }: ListingProps<T>) {
  const items = list.items.value;
  const error = list.error.value;
  if (!items && error === undefined) return <Skeleton />;
  return (
    <>
      {items?.length === 0 && error === undefined && <div class="empty">{empty}</div>}
      {items && items.length > 0 && <ul {...rest}>{items.map(children)}</ul>}
      <Problem error={error} />
      {error !== undefined && (
        <button type="button" class="quiet" onClick={() => void list.load()}>
          {t("retry")}
        </button>
      )}
      {list.next.value && error === undefined && (
        <button type="button" class="quiet wide" onClick={() => void list.more()}>
          {t("more")}
        </button>
      )}
    </>
  );
}

export function Skeleton() {
  return (
    <div class="skeleton" role="status" aria-label={t("loading")}>
      <i />
      <i />
      <i />
    </div>
  );
}
