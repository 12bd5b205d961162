/** Formatters of numbers, sizes and times. Each takes a value and returns a string. */
import { WORDS } from "./words.js"; // made of the tables in core/words.py

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const NONE = "–";
export const STOP = 10_000;

export const int = (n) => (n == null ? NONE : whole.format(n));
/** A compact count: "12.3M". */
export const few = (n) => (n < 1e6 ? int(n) : n == null ? NONE : compact.format(n));
/** A count with its noun: "1 job", "2 jobs". */
export const counted = (n, singular, many = `${singular}s`) => `${int(n)} ${n === 1 ? singular : many}`;
/** A compact count with its noun: "12.3M pages". */
export const countedFew = (n, singular, many = `${singular}s`) => `${few(n)} ${n === 1 ? singular : many}`;
/** A total of jobs by a filter, which the API counts to 10,000: "10,000+ jobs". */
export const total = (n, singular, many = `${singular}s`) => (n === STOP ? `${int(n)}+ ${many}` : counted(n, singular, many));
export const rate = (n) => (n ? tenths.format(n) : NONE);
export const pct = (share) => (share == null ? NONE : `${tenths.format(share * 100)}%`);
export const most = (n) => (n == null ? "No limit" : int(n));
export const str = (value) => (value == null || value === "" ? NONE : String(value));
export const list = (words) => (words?.length ? words.join(", ") : NONE);

/** "waiting_slot" as "Waiting slot"; URLs are left as they are. */
export const cap = (word) => (word ? word.replace(/^[a-z](?!\w*:\/)/, (first) => first.toUpperCase()).replace(/^\w+$/, (all) => all.replaceAll("_", " ")) : NONE);

const from = (table) => (value) => cap(table[value] ?? value);
/** Words for the states of jobs, their reasons, kinds of errors, outcomes of planned runs, and their reasons. */
export const stateWord = from(WORDS.state);
export const reasonWord = from({ ...WORDS.wait, ...WORDS.reason });
export const errorWord = from(WORDS.error);
export const fateWord = from({ ...WORDS.outcome, ...WORDS.state });
export const tickWord = from(WORDS.tick);
/** The words for the kind of a rule that skips URLs. */
export const ruleWord = from(WORDS.rule);

/** Bytes in powers of 1000. */
export function bytes(n) {
  if (n == null) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  for (; n >= 999.5 && power < units.length - 1; power++) n /= 1000;
  return `${(power && n < 99.95 ? tenths : whole).format(n)} ${units[power]}`;
}

/** Seconds as "8s", "1m 08s", "2h 05m", "3d 4h". */
export function dur(seconds) {
  if (seconds == null) return NONE;
  const s = Math.max(0, Math.round(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  if (s < 60) return seconds > 0 && seconds < 1 ? "<1s" : `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${pad(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${pad(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor(s / 3600) % 24}h`.replace(/ 0h$/, "");
}

/** A duration that may be short: "400 ms". */
export const brief = (s) => (s > 0 && s < 1 ? `${int(s * 1000)} ms` : dur(s));

/** A range of seconds: one of ten such jobs ends before *p10*, nine of ten before *p90*. */
export function eta(p10, p90) {
  if (p10 == null) return NONE;
  const step = (s) => (s < 60 ? 1 : s < 86400 ? 60 : 3600);
  const down = (s) => coarse(Math.floor(s / step(s)) * step(s));
  const up = (s) => coarse(Math.ceil(s / step(s)) * step(s));
  const [from, to] = [down(p10), up(p90 ?? p10)];
  return from === to ? from : `${from} – ${to}`;
}

const passed = (at) => (Date.now() - Date.parse(at)) / 1000;
const coarse = (s) => dur(s < 60 ? s : s < 3600 ? Math.floor(s / 60) * 60 : s).replace(/ 00s$/, "");

/** A time relative to now. */
export function ago(at) {
  if (!at) return NONE;
  const s = passed(at);
  if (Math.abs(s) < 1) return "now";
  return s > 0 ? `${coarse(s)} ago` : `in ${coarse(-s)}`;
}

/** The instant in the user's zone: the time, with the day if it is not today's. */
export function at(when) {
  if (!when) return NONE;
  const date = new Date(when);
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}
export const time = (when) => (when ? new Date(when).toLocaleTimeString(undefined, { hourCycle: "h23" }) : NONE);
export const date = (when) => (when ? day.format(new Date(when)) : NONE);

/** A time with its zone. */
export const exact = (when) => (when ? moment.format(new Date(when)) : "");

const flat = (value) => {
  if (Array.isArray(value)) return value.map(flat).join(", ");
  if (value && typeof value === "object") return Object.entries(value).map(([name, member]) => `${name} ${flat(member)}`).join(", ");
  return /^\d{4}-\d\d-\d\dT/.test(value) ? at(value) : String(value ?? "none").replaceAll("_", " ");
};
const DETAILS = { cut: "limited to", detail: "" };
/** A *value* in the data of an event with its *name*: "limited to: limits.pages 1000". */
export const detailed = (name, value) => [DETAILS[name] ?? name.replaceAll("_", " "), flat(value)].filter(Boolean).join(": ");

/** The host of a URL. */
export function host(url) {
  try {
    return new URL(url).host;
  } catch {
    return url || NONE;
  }
}
