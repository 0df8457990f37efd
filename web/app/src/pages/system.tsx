import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { call, type DeadLetter, type Process, type System } from "../api/client";
import { Chart, type Line } from "../chart";
import { bytes, duration, moment, number } from "../format";
import { t, type Key } from "../i18n";
import { List } from "../stores";
import { History, KEPT_SECONDS, type Sample } from "../system";
import { toast } from "../toasts";
import { Listing, Moment, Problem, Skeleton } from "../ui";

const ASK_MS = 2_000;
/** An answer that is older is said to be old. */
const OLD_SECONDS = 7;

interface Watched {
  system: Signal<System | undefined>;
  error: Signal<unknown>;
  samples: readonly Sample[];
  /** Seconds since the last answer came. */
  age: number;
}

export function SystemPage() {
  const { system, error, samples, age } = useSystem();
  const seen = system.value;
  if (!seen)
    return (
      <>
        <h1>{t("system")}</h1>
        {error.value === undefined ? <Skeleton /> : <Problem error={error.value} />}
      </>
    );
  const isOld = age > OLD_SECONDS;
  const dead = seen.backlogs.reduce((total, { dead_letters }) => total + Number(dead_letters ?? 0), 0);
  return (
    <>
      <div class="title">
        <h1>{t("system")}</h1>
        <span class={isOld ? "pulse old" : "pulse"}>
          <i key={seen.observed_at} />
          {isOld ? t("systemOld", { age: duration(age) }) : t("systemNow")}
        </span>
      </div>
      {isOld && (
        <p class="waiting" role="status">
          {t("systemOldHint")}
        </p>
      )}
      <div class={isOld ? "board old" : "board"}>
        <Charts samples={samples} />
        <Guarantees audit={seen.audit} />
        <Processes processes={seen.processes} samples={samples} />
        <Waiting system={seen} />
      </div>
      <DeadLetters count={dead} />
    </>
  );
}

/** Asks every two seconds as long as somebody looks. */
function useSystem(): Watched {
  const system = useSignal<System | undefined>(undefined);
  const error = useSignal<unknown>(undefined);
  const age = useSignal(0);
  const history = useMemo(() => new History(), []);
  const answeredAt = useRef(performance.now());
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isAsking = false;
    let ended = false;
    async function ask(): Promise<void> {
      clearTimeout(timer);
      if (ended || isAsking || document.hidden) return;
      isAsking = true;
      try {
        const answer = await call("get", "/system");
        history.add(answer);
        answeredAt.current = performance.now();
        age.value = 0;
        system.value = answer;
        error.value = undefined;
      } catch (problem) {
        error.value = problem;
      }
      isAsking = false;
      timer = setTimeout(() => void ask(), ASK_MS);
    }
    const look = () => void ask();
    const clock = setInterval(() => {
      age.value = Math.floor((performance.now() - answeredAt.current) / 1000);
    }, 1000);
    document.addEventListener("visibilitychange", look);
    void ask();
    return () => {
      ended = true;
      clearTimeout(timer);
      clearInterval(clock);
      document.removeEventListener("visibilitychange", look);
    };
  }, []);
  return { system, error, samples: history.samples, age: age.value };
}

type Measure = "created" | "paid" | "p50" | "p99" | "outboxAge" | "lag";
interface Shown {
  title: Key;
  lines: readonly (readonly [Key, Measure])[];
  write: (value: number) => string;
  least: number;
}

const CHARTS: readonly Shown[] = [
  {
    title: "ordersPerSecond",
    lines: [
      ["accepted", "created"],
      ["paidOrders", "paid"],
    ],
    write: number,
    least: 1,
  },
  {
    title: "untilPaid",
    lines: [
      ["half", "p50"],
      ["almostAll", "p99"],
    ],
    write: duration,
    least: 0.02,
  },
  { title: "outboxAge", lines: [["oldestEvent", "outboxAge"]], write: duration, least: 1 },
  { title: "lag", lines: [["messages", "lag"]], write: number, least: 10 },
];

function Charts({ samples }: { samples: readonly Sample[] }) {
  return (
    <section class="charts" aria-label={t("charts")}>
      {CHARTS.map(({ title, lines, write, least }) => {
        const drawn = lines.map(([, measure], index): Line => {
          const points = samples.map((sample) => ({ at: sample.at, value: sample[measure] }));
          return { name: index ? "second" : "first", points };
        });
        const say = (value: number | undefined) => (value === undefined ? "–" : write(value));
        const latest = lines.map(([name, measure]) => ({ name, value: say(samples.at(-1)?.[measure]) }));
        const said = latest.map(({ name, value }) => `${t(name)} ${value}`).join(", ");
        return (
          <figure key={title} class="card">
            <figcaption>
              <h2>{t(title)}</h2>
              <dl>
                {latest.map(({ name, value }, index) => (
                  <div key={name} class={index ? "second" : "first"}>
                    <dt>{t(name)}</dt>
                    <dd data-testid={lines[index]?.[1]}>{value}</dd>
                  </div>
                ))}
              </dl>
            </figcaption>
            <Chart label={`${t(title)}: ${said}`} lines={drawn} seconds={KEPT_SECONDS} least={least} write={write} />
          </figure>
        );
      })}
    </section>
  );
}

const GUARANTEES = ["NOTHING_LOST", "PAID_ONCE", "BOOKS_BALANCE"] as const;
const SIGNS = { HOLDS: "✓", BROKEN: "✗", UNKNOWN: "?" } as const;

function Guarantees({ audit }: { audit: System["audit"] }) {
  if (!audit || audit.state === "DISABLED") return <p class="quiet-text">{t("auditOff")}</p>;
  return (
    <section>
      <h2>{t("guarantees")}</h2>
      <div class="guarantees">
        {GUARANTEES.map((name) => {
          const rules = audit.rules.filter(({ guarantee }) => guarantee === name);
          const broken = rules.filter((rule) => rule.broken !== "0");
          const state = broken.length ? "BROKEN" : audit.state === "UNKNOWN" ? "UNKNOWN" : "HOLDS";
          return (
            <details key={name} class={`card guarantee ${state.toLowerCase()}`} data-testid={name}>
              <summary>
                <b aria-hidden="true">{SIGNS[state]}</b>
                <span>
                  <strong>{t(`guarantee.${name}`)}</strong>
                  <small>{t(`audit.${state}`, { broken: broken.length, rules: rules.length })}</small>
                </span>
              </summary>
              <ul>
                {[...broken, ...rules.filter((rule) => !broken.includes(rule))].map(({ rule, broken: rows }) => (
                  <li key={rule} class={rows === "0" ? "" : "bad"}>
                    {rule}
                    {rows !== "0" && <b>{t("rows", { count: rows })}</b>}
                  </li>
                ))}
              </ul>
            </details>
          );
        })}
      </div>
      <small>
        {audit.finished_at
          ? t("auditDone", {
              at: moment(audit.finished_at),
              orders: number(Number(audit.orders)),
              transactions: number(Number(audit.transactions)),
              time: duration(audit.seconds),
            })
          : t("auditNotYet")}
      </small>
    </section>
  );
}

function Processes({ processes, samples }: { processes: readonly Process[]; samples: readonly Sample[] }) {
  const names = [...new Set(processes.map(({ name }) => name))];
  return (
    <section>
      <h2>{t("processes")}</h2>
      <ul class="processes">
        {names.map((name) => {
          const instances = processes.filter((process) => process.name === name);
          const up = instances.filter(({ state }) => state === "UP");
          const state = up.length === instances.length ? "up" : up.length ? "some" : "down";
          const points = samples.map(({ at, cpu }) => ({ at, value: cpu.get(name) }));
          const cores = points.at(-1)?.value;
          const memory = up.reduce((total, { resident_bytes }) => total + Number(resident_bytes), 0);
          const sockets = up.reduce((total, process) => total + Number(process.sockets ?? 0), 0);
          const cpu = cores === undefined ? "–" : `${number(cores * 100)} %`;
          return (
            <li key={name} class={`card process ${state}`} data-testid={`process-${name}`}>
              <h3>
                <i />
                {name}
              </h3>
              <span class={state === "up" ? "hidden" : "state"}>
                {state === "up" ? t("up") : t("down", { up: up.length, of: instances.length })}
              </span>
              <small class="facts">
                {up.length > 0 && `${t("cpu")} ${cpu} · ${bytes(memory)}`}
              </small>
              <Chart label={`${t("cpu")} ${cpu}`} lines={[{ name: "first", points }]} seconds={KEPT_SECONDS} least={0.1} />
              {name === "push" && (
                <small class="instance">
                  {t("sockets")}
                  <span>{number(sockets)}</span>
                </small>
              )}
              {instances.map((process) => (
                <small key={process.instance} class={process.state === "UP" ? "instance" : "instance bad"}>
                  {process.instance}
                  <span>{process.started_at && process.state === "UP" ? since(process.started_at) : t("silent")}</span>
                </small>
              ))}
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function since(startedAt: string): string {
  return duration(Math.max(0, (Date.now() - Date.parse(startedAt)) / 1000));
}

/** What waits, by service and by consumer. */
function Waiting({ system }: { system: System }) {
  return (
    <section>
      <h2>{t("waits")}</h2>
      <div class="columns">
        <ul class="rows card">
          {system.backlogs.map(({ service, outbox_age_seconds: age }) => (
            <li key={service}>
              <span>{t("outboxOf", { service })}</span>
              <b>{age === undefined ? t("unknown") : age ? duration(age) : t("empty")}</b>
            </li>
          ))}
        </ul>
        <ul class="rows card">
          {system.consumers.map(({ name, lag }) => (
            <li key={name}>
              <span>{name}</span>
              <b>{lag === undefined ? t("unknown") : number(Number(lag))}</b>
            </li>
          ))}
        </ul>
      </div>
    </section>
  );
}

const PAGE_SIZE = 20;

function DeadLetters({ count }: { count: number }) {
  const silent = useSignal<string[]>([]);
  const list = useMemo(
    () =>
      new List<DeadLetter>(async (page_token) => {
        const found = await call("get", "/dead-letters", { query: { page_size: PAGE_SIZE, page_token } });
        silent.value = found.silent_services;
        return { items: found.dead_letters, next: found.next_page_token };
      }),
    [],
  );
  // The services count theirs now and then; what they count is news here.
  useEffect(() => void list.load(), [count]);
  const remove = ({ id }: DeadLetter) => list.change((known) => known.filter((letter) => letter.id !== id));
  return (
    <section>
      <h2>{t("deadLetters")}</h2>
      {silent.value.length > 0 && <p class="waiting">{t("silentServices", { names: silent.value.join(", ") })}</p>}
      <Listing list={list} empty={t("noDeadLetters")} class="rows card">
        {(letter) => <Letter key={letter.id} letter={letter} onDone={remove} />}
      </Listing>
    </section>
  );
}

function Letter({ letter, onDone }: { letter: DeadLetter; onDone: (letter: DeadLetter) => void }) {
  const isBusy = useSignal(false);
  const error = useSignal<unknown>(undefined);
  const path = { dead_letter_id: letter.id };
  async function act(work: () => Promise<unknown>, done: Key): Promise<void> {
    isBusy.value = true;
    error.value = undefined;
    try {
      await work();
      toast(t(done), "good");
      onDone(letter);
    } catch (problem) {
      error.value = problem;
    }
    isBusy.value = false;
  }
  return (
    <li>
      <div>
        <span>{letter.subject}</span>
        <small>
          {letter.consumer} · {t("failures", { count: letter.failures })} · <Moment at={letter.died_at} />
        </small>
        <code>{letter.error}</code>
        <span class="id">{letter.event_id}</span>
        <Problem error={error.value} />
      </div>
      <div class="end">
        <button
          type="button"
          class="plain"
          disabled={isBusy.value}
          aria-label={`${t("replay")}: ${letter.subject} ${letter.event_id}`}
          onClick={() => void act(() => call("post", "/dead-letters/{dead_letter_id}:replay", { path }), "replayed")}
        >
          {t("replay")}
        </button>
        <button
          type="button"
          class="plain bad"
          disabled={isBusy.value}
          aria-label={`${t("drop")}: ${letter.subject} ${letter.event_id}`}
          onClick={() =>
            confirm(t("confirmDrop")) &&
            void act(() => call("delete", "/dead-letters/{dead_letter_id}", { path }), "dropped")
          }
        >
          {t("drop")}
        </button>
      </div>
    </li>
  );
}
