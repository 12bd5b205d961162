/** Hours by days: what became of the runs that were due, how many are to come, and until when that is known. */
import { $$, at, counted, date, get, h, int, query } from "../core/all.js";
import { fate } from "./schedules.js";

const HOUR_MS = 36e5;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
const WORST = ["failed", "missed", "stopped", "skipped", "cancelled", "replaced", "running", "paused", "pending", "waiting", "completed"]; // first
const SIGNS = { failed: "×", missed: "!", stopped: "◐", skipped: "–", cancelled: "–", replaced: "–" };
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const pad = (n) => String(n).padStart(2, "0");
const worst = (fates) => WORST.find((is) => fates[is]) ?? Object.keys(fates)[0];
const sum = (counts) => Object.values(counts).reduce((all, n) => all + n, 0);
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });

/** Where shades begin, so that 1 and 120 differ: equal steps of a power, each number of few runs its own. */
export function shades(most) {
  if (most <= 4) return [1, 2, 3, 4].slice(0, Math.max(1, most));
  const steps = [1, 2, 3].map((n) => Math.ceil(most ** (n / 4)));
  return [1, ...steps.map((step, n) => Math.max(step, n + 2))];
}

/**
 * A week in *root*: of all schedules, or of its `schedule`, before whose beginning nothing was. *onHour(hour)* is called
 * for the hour that the pointer or the keys are at: {from, to, is, said, label}; *range(text)* for the week that is shown.
 */
export class Week {
  #cells;
  #hours = [];
  #answer;
  #current;
  slots = 0;

  constructor(root, { onHour = () => {}, range } = {}) {
    Object.assign(this, { root, onHour, range, shown: new Date() });
    this.#current = this.#place(this.shown);
    const body = Array.from({ length: 24 }, (_, hour) =>
      h("tr", {}, h("th", { scope: "row" }, h(hour % 3 ? "span.vh" : "span", {}, `${pad(hour)}:00`)), Array.from({ length: 7 }, () => h("td", {}, h("button", { type: "button", tabindex: -1 })))));
    this.table = h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span.vh", {}, "Hour")), Array.from({ length: 7 }, () => h("th", { scope: "col" })))),
      h("tbody", {}, body));
    this.key = h("div.key");
    this.sheet = h("div.scroll", { tabindex: 0, role: "group", "aria-label": "Hours with runs" });
    this.list = h("details.as-table", { ontoggle: () => this.#tabulate() }, h("summary", {}, "Show as table"), this.sheet);
    root.classList.add("week");
    root.ariaBusy = "true"; // until its hours have names
    root.replaceChildren(h("div.scroll", {}, this.table), this.key, this.list);
    this.#cells = $$("button", this.table);
    const point = ({ target }) => this.#cells.includes(target) && this.point(this.#cells.indexOf(target));
    this.table.addEventListener("focusin", point);
    this.table.addEventListener("pointerover", point);
    this.table.addEventListener("keydown", (event) => {
      const to = this.#cells[this.#current + STEPS[event.key]];
      if (to) event.preventDefault(to.focus());
    });
  }

  day = (n) => new Date(this.shown.getFullYear(), this.shown.getMonth(), this.shown.getDate() - ((this.shown.getDay() + 6) % 7) + n);
  #place = (when) => when.getHours() * 7 + ((when.getDay() + 6) % 7);

  /** Show the week of the day *to*, as it is now. */
  async show(to = this.shown) {
    if (to !== this.shown) this.#answer = null; // it is of another week
    this.shown = to;
    const params = { from: this.day(0).toISOString(), to: this.day(7).toISOString(), zone, schedule: this.schedule?.id };
    const answer = await get(`/schedules/calendar/hours${query(params)}`);
    if (to !== this.shown) return; // the user has gone on
    this.#answer = answer;
    this.range?.(`${date(this.day(0))} – ${date(this.day(6))}`);
    this.draw();
  }

  draw() {
    if (!this.#answer) return;
    const { hours, until } = this.#answer;
    const horizon = Date.parse(until);
    const now = Date.now();
    const begins = this.schedule && Date.parse(this.schedule.starts_at ?? this.schedule.created_at);
    this.#hours = this.#cells.map((_, i) => {
      const day = this.day(i % 7);
      const from = new Date(day.getFullYear(), day.getMonth(), day.getDate(), Math.floor(i / 7));
      return { from, to: new Date(+from + HOUR_MS), runs: 0, held: 0, together: 0, fates: {} };
    });
    for (const cell of hours) {
      const hour = this.#hours[this.#place(new Date(cell.at))];
      for (const name of ["runs", "held"]) hour[name] += cell[name];
      hour.together = Math.max(hour.together, cell.together);
      for (const is in cell.fates) hour.fates[is] = (hour.fates[is] ?? 0) + cell.fates[is];
    }
    const steps = shades(Math.max(0, ...this.#hours.map(({ runs }) => runs)));
    this.#hours.forEach((hour, i) => {
      const was = worst(hour.fates);
      const fates = Object.entries(hour.fates).map(([is, n]) => `${int(n)} ${fate(is).toLowerCase()}`);
      const [end, cell] = [+hour.to, this.#cells[i]];
      if (end > horizon) Object.assign(hour, { is: "beyond", text: "", said: "not computed yet" });
      else if (hour.runs || was) {
        const clash = this.slots > 0 && hour.together > this.slots;
        if (hour.runs) fates.push(`${counted(hour.runs, "run")} planned${clash ? ", likely to wait for a slot" : ""}`);
        const many = sum(hour.fates);
        const shade = steps.findLastIndex((step) => hour.runs >= step) + 1;
        const planned = hour.runs && !SIGNS[was]; // what went wrong shows, also where more is to come
        if (planned) Object.assign(hour, { is: `next n${shade}${clash ? " clash" : ""}`, text: int(hour.runs) });
        else Object.assign(hour, { is: `was c-${was}`, text: `${many > 1 ? int(many) : ""}${SIGNS[was] ?? ""}` });
        hour.said = fates.join(", ");
      } else if (hour.held) Object.assign(hour, { is: "held", text: "", said: `${counted(hour.held, "run")} of paused schedules` });
      else if (end <= begins) Object.assign(hour, { is: "before", text: "", said: "before its start" });
      else Object.assign(hour, { is: "none", text: "", said: +hour.from > now ? "no run" : "no run was due" });
      cell.className = hour.is;
      cell.textContent = hour.text;
      cell.ariaLabel = `${date(hour.from)}, ${pad(Math.floor(i / 7))}:00: ${hour.said}`;
      cell.title = hour.said;
      cell.ariaCurrent = +hour.from <= now && now < end ? "time" : null;
    });
    $$("thead th", this.table).slice(1).forEach((th, n) => {
      const day = this.day(n);
      th.replaceChildren(weekday.format(day), h("small", {}, String(day.getDate())));
      th.ariaCurrent = date(day) === date(new Date()) ? "date" : null;
    });
    this.root.ariaBusy = null;
    this.#legend(steps, until, begins);
    this.#tabulate();
    this.point(this.#current);
  }

  #legend(steps, until, begins) {
    const there = (is) => this.#hours.some((hour) => ` ${hour.is} `.includes(` ${is} `));
    const entry = (is, text) => h("span", {}, h("i", { class: is }), text);
    const most = Math.max(...this.#hours.map(({ runs }) => runs));
    const span = (n) => (n === steps.length - 1 ? (most > steps[n] ? `${int(steps[n])}–${int(most)}` : int(steps[n])) : steps[n + 1] - 1 > steps[n] ? `${int(steps[n])}–${int(steps[n + 1] - 1)}` : int(steps[n]));
    this.key.replaceChildren(
      ...WORST.filter((is) => there(`c-${is}`)).reverse().map((is) => entry(`was c-${is}`, `${fate(is)} ${SIGNS[is] ?? ""}`)),
      ...(there("next") ? steps.map((_, n) => entry(`next n${n + 1}`, `${span(n)}${n === steps.length - 1 ? (most === 1 ? " run planned" : " runs planned") : ""}`)) : []),
      there("clash") ? entry("next n4 clash", `Likely to wait: more at one moment than ${counted(this.slots, "slot")}`) : "",
      there("held") ? entry("held", "Only paused schedules") : "",
      there("before") ? entry("before", `Before its start, ${at(new Date(begins))}`) : "",
      there("beyond") ? entry("beyond", `Beyond ${at(until)}: not computed yet`) : "");
  }

  /** Take note of the hour at place *i*, and tell of it. */
  point(i) {
    this.#cells[this.#current].tabIndex = -1;
    this.#cells[(this.#current = i)].tabIndex = 0;
    const hour = this.#hours[i];
    if (hour) this.onHour({ ...hour, label: this.#cells[i].ariaLabel });
  }

  #tabulate() {
    if (!this.list.open) return;
    const body = this.#hours.filter(({ is }) => !["none", "before", "beyond"].includes(is)).sort((a, b) => a.from - b.from);
    this.sheet.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, ["Hour", "Runs"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, body.map(({ from, said }) => h("tr", {}, h("td", {}, at(from)), h("td", {}, said))))));
  }
}

/** Let the buttons data-turn in *root* turn a week: days on, or (empty) to this week. */
export function turns(root, week, again) {
  const buttons = $$("[data-turn]", root);
  for (const el of buttons) el.onclick = () => again(el.dataset.turn ? week.day(+el.dataset.turn) : new Date());
  return { "[": () => buttons[0].click(), "]": () => buttons.at(-1).click() };
}
