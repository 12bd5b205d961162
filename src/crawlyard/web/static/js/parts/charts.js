/**
 * Charts in SVG: lines, stacked bars, runs on one time axis; and, small, a strip of outcomes and a spark.
 *
 * The first three fill an element and may be called on it again with new data. Each has axes, a key, a tooltip at the
 * pointer, and a table. It is one stop for the Tab key; arrows then step through its points, which it tells as its value,
 * and Enter opens what a point is of. A word of state (`is`) is a colour, and what failed is hatched too.
 */
import { at, few, h, rate, svg, time } from "../core/all.js";

const NARROW = 560;
const REACH = 24; // how near the pointer must be to a run, in pixels
const MINUTE = 60e3;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [...[1, 5, 15, 30].map((n) => n * 1e3), ...[1, 5, 15, 30].map((n) => n * MINUTE), ...[1, 3, 6, 12].map((n) => n * HOUR), ...[1, 2, 7, 14, 28, 91, 364].map((n) => n * DAY)];
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const days = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const number = (n) => (Number.isInteger(n) || n >= 100 ? few(n) : rate(n));
const ms = (when) => (typeof when === "number" ? when : Date.parse(when));

// --- what all have: the frame, the tooltip, the keys, the table

/** Show *data* in *root*, as *draw(width, data)* sees it; again whenever its width changes. */
function show(root, data, draw) {
  root.chart ??= new Chart(root);
  Object.assign(root.chart, { data, draw });
  root.chart.again();
}

class Chart {
  constructor(root) {
    this.root = root;
    this.svg = svg("svg", {});
    this.key = h("div.key", { "aria-hidden": "true" });
    this.tip = h("div.tip", { "aria-hidden": "true", hidden: true });
    this.sheet = h("div.scroll", { tabindex: 0, role: "group" });
    this.table = h("details.as-table", { ontoggle: () => this.tell() }, h("summary", {}, "Show as table"), this.sheet);
    root.classList.add("chart");
    root.replaceChildren(this.svg, this.key, this.tip, this.table);
    const { svg: el } = this;
    for (const name of ["pointermove", "pointerdown"]) el.addEventListener(name, (event) => this.point(event));
    el.addEventListener("pointerleave", () => el.matches(":focus-visible") || this.hide());
    el.addEventListener("click", (event) => this.open(event));
    el.addEventListener("keydown", (event) => this.step(event));
    el.addEventListener("focus", () => el.matches(":focus-visible") && this.stand(this.i));
    el.addEventListener("blur", () => this.hide());
    new ResizeObserver(() => root.clientWidth !== this.width && this.again()).observe(root);
  }

  /** Draw anew; who stands at a point stays there, also when the axis has moved on. */
  again() {
    const { root, data, svg: el } = this;
    if (!(this.width = root.clientWidth)) return; // hidden: drawn when it is shown
    hatch();
    const was = this.stops?.[this.i];
    const { height, drawn, key, stops, first = stops.length - 1 } = this.draw(this.width, data);
    this.stops = stops;
    this.cursor = svg("g", { class: "cursor" });
    el.replaceChildren(...drawn, this.cursor);
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${this.width} ${height}`, height, "aria-label": data.said }))
      if (el.getAttribute(name) !== `${value}`) el.setAttribute(name, value);
    if (stops.length) Object.assign(el, { role: "slider", tabIndex: 0, ariaRoleDescription: "chart", ariaValueMin: 1, ariaValueMax: stops.length });
    else Object.assign(el, { role: "img", ariaRoleDescription: null, ariaValueMin: null, ariaValueMax: null, ariaValueNow: null, ariaValueText: null }).removeAttribute("tabindex");
    this.key.hidden = key.length < 2;
    this.key.replaceChildren(...key.map(([is, name, how = ""]) => h(`span.c-${is}`, {}, h("i", { class: how }), name)));
    this.table.hidden = !stops.length;
    const same = was ? stops.findIndex(({ id }) => id === was.id) : first;
    this.value(same < 0 ? first : same);
    if (!this.tip.hidden) same < 0 ? this.hide() : this.stand(this.i);
    this.tell();
  }

  value(i) {
    this.i = i;
    const stop = this.stops[i];
    if (!stop) return;
    const summary = `${stop.head}: ${stop.rows.map(([, name, value]) => [name, value].filter(Boolean).join(" ")).join(", ")}`;
    Object.assign(this.svg, { ariaValueNow: i + 1, ariaValueText: summary });
  }

  /** Show what is at point *i*. */
  stand(i) {
    const stop = this.stops[i];
    if (!stop) return;
    this.value(i);
    const { x, rows, head, mark, href } = stop;
    this.cursor.replaceChildren(...mark());
    this.svg.classList.toggle("opens", Boolean(href));
    const { tip, root, width } = this;
    tip.replaceChildren(h("b", {}, head), ...rows.map(([is, name, value]) => h(`div.c-${is}`, {}, is && h("i"), name, h("span", {}, value))));
    tip.hidden = false;
    const beside = x + 14 + tip.offsetWidth > width ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(0, beside)}px`;
    tip.style.top = `${this.svg.getBoundingClientRect().top - root.getBoundingClientRect().top + (stop.y ?? 8)}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.cursor?.replaceChildren();
  }

  point({ clientX, clientY }) {
    const { left, top } = this.svg.getBoundingClientRect();
    const [x, y] = [clientX - left, clientY - top];
    const far = this.stops.map(({ box: [l, r, t, b] }) => Math.max(0, l - x, x - r) + 3 * Math.max(0, t - y, y - b));
    const near = far.indexOf(Math.min(...far));
    if (!(far[near] < REACH)) this.hide();
    else if (near !== this.i || this.tip.hidden) this.stand(near);
  }

  open({ ctrlKey, metaKey }) {
    const { href } = (!this.tip.hidden && this.stops[this.i]) || {};
    if (href) ctrlKey || metaKey ? window.open(href) : location.assign(href);
  }

  step(event) {
    const { key, ctrlKey, metaKey, altKey } = event;
    const { stops, i } = this;
    const here = stops[i];
    if (!here || altKey || ((ctrlKey || metaKey) && key !== "Enter")) return;
    const lane = stops.map((_, n) => n).filter((n) => stops[n].lane === here.lane);
    const on = (by) => lane[Math.max(0, Math.min(lane.length - 1, lane.indexOf(i) + by))];
    const over = (by) => {
      const next = stops.map(({ lane: l }) => l).filter((l) => (l - here.lane) * by > 0).sort((a, b) => (a - b) * by)[0];
      const laneStops = stops.map((_, n) => n).filter((n) => stops[n].lane === next);
      return laneStops.sort((a, b) => Math.abs(stops[a].x - here.x) - Math.abs(stops[b].x - here.x))[0] ?? i;
    };
    const far = Math.max(2, Math.round(lane.length / 10));
    const to = { ArrowLeft: () => on(-1), ArrowRight: () => on(1), ArrowUp: () => over(-1), ArrowDown: () => over(1), Home: () => lane[0], End: () => lane.at(-1), PageUp: () => on(-far), PageDown: () => on(far) }[key];
    if (to) this.stand(to());
    else if (key === "Enter") this.open(event);
    else if (key === "Escape") this.hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Fill the table while it is open: the latest first. */
  tell() {
    if (!this.table.open) return;
    this.sheet.ariaLabel = this.data.said;
    const [heads, ...body] = this.draw.table(this.data);
    const cell = (value, n) => h(typeof value === "string" && n ? "td.num" : "td", {}, value);
    const table = h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head, n) => h(n && typeof body[0]?.[n] === "string" ? "th.num" : "th", { scope: "col" }, head)))),
      h("tbody", {}, body.map((row) => h("tr", {}, row.map(cell)))));
    const { scrollTop } = this.sheet;
    this.sheet.replaceChildren(table);
    this.sheet.scrollTop = scrollTop;
  }
}

/** What failed is hatched as well as red, so that it is seen without colour: one pattern for the page. */
function hatch() {
  if (document.getElementById("hatch")) return;
  const square = (width, is) => svg("rect", { width, height: 5, class: is });
  const pattern = svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, square(5, "under"), square(2.5, "over"));
  document.body.append(svg("svg", { class: "hatch c-failed", "aria-hidden": "true" }, svg("defs", {}, pattern)));
}
const box = (is, x, y, width, height, more) => svg("rect", { class: `bx c-${is}`, x, y, width, height, rx: 2, ...more });
const line = (is, x1, x2, y1, y2) => svg("line", { class: is, x1, x2, y1, y2 });
const label = (text, x, y, anchor = "start", is = "") => svg("text", { x, y, "text-anchor": anchor, class: is }, text);

/** Return the whole hours, days … of the user's clock between two times, at most *most* of them. */
function ticks(from, to, most) {
  const step = STEPS.find((candidate) => candidate * Math.max(1, most) >= to - from) ?? STEPS.at(-1);
  const base = Date.UTC(2024, 0, 1); // a Monday
  const begun = new Date(from);
  const wall = Date.UTC(begun.getFullYear(), begun.getMonth(), begun.getDate(), begun.getHours(), begun.getMinutes());
  const first = Math.floor((wall - base) / step) - 1;
  const ticks = [];
  for (let n = first; n < first + 1e4; n++) {
    const when = step < DAY ? new Date(2024, 0, 1, 0, 0, 0, n * step) : new Date(2024, 0, 1 + (n * step) / DAY);
    if (+when > to) break;
    if (+when >= from && +when !== ticks.at(-1)?.at) ticks.push({ at: +when, text: tickLabel(when, step) });
  }
  return ticks;
}
function tickLabel(when, step) {
  if (step >= DAY || (step >= HOUR && !when.getHours())) return days.format(when);
  return step < MINUTE ? time(when) : clock.format(when);
}

/** Return the least round number that is not below *top*, and half of which is round too. */
function nice(top, whole) {
  if (whole && top <= 10) return Math.max(2, Math.ceil(top / 2) * 2);
  const power = 10 ** Math.floor(Math.log10(top));
  const round = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((n) => n * power >= top * 0.999);
  return Number((round * power).toPrecision(3));
}

// --- lines and bars

/**
 * Lines over *x* (times): {said, x, series: [{name, is, values, area, dash}], say, limits: [{at, name}],
 * marks: [{at, name}], from, to, height}. A value may be null; *say* writes one, with its unit; *hrefs* are of the points.
 */
export const lines = (root, data) => show(root, data, plot);

/** Stacked bars, of the same. With *step* (ms), each begins at its x; without, they stand side by side, in order. */
export const bars = (root, data) => show(root, { ...data, stacked: true }, plot);

function plot(width, data) {
  const { series, stacked, step, say = number, limits = [], marks = [], height = 150, hrefs = [] } = data;
  const xs = data.x.map(ms);
  const sums = stacked ? xs.map((_, i) => series.reduce((sum, { values }) => sum + (values[i] ?? 0), 0)) : series.flatMap(({ values }) => values);
  const whole = sums.every((n) => Number.isInteger(n ?? 0));
  const top = nice(Math.max(...sums.map((n) => n ?? 0), ...limits.map((limit) => limit.at), whole ? 1 : 1e-3), whole);
  const scale = [0, 0.5, 1].map((share) => say(top * share));
  const [left, right, up, down] = [14 + 6.5 * Math.max(...scale.map((text) => text.length)), width - 10, 16, height - 22];
  const y = (n) => down - (down - up) * (n / top);

  // a time has its place on the axis; without a length of each, bars only have their order
  const even = stacked && !step;
  const from = data.from ? ms(data.from) : xs[0];
  const to = Math.max(data.to ? ms(data.to) : (xs.at(-1) ?? 0) + (step ?? 0), from + 1);
  const slot = (right - left) * (even ? 1 / Math.max(1, xs.length) : step / (to - from));
  const place = (when) => (even ? x(xs.findLastIndex((tick) => tick <= ms(when))) : left + ((right - left) * (ms(when) - from)) / (to - from));
  const x = (i) => (even ? left + slot * (i + 0.5) : place(xs[i]) + (stacked ? slot / 2 : 0));
  const room = Math.floor((right - left) / 76);
  const every = Math.ceil(xs.length / Math.max(1, room));
  const below = even ? xs.map((when, i) => ({ x: x(i), text: i >= every && days.format(when) === days.format(xs[i - every]) ? clock.format(when) : days.format(when) })).filter((_, i) => i % every === 0) : xs.length ? ticks(from, to, room).map((tick) => ({ ...tick, x: place(tick.at) })) : [];

  const drawn = [
    ...scale.flatMap((text, n) => [line(n ? "g" : "g g0", left, right, y((top * n) / 2), y((top * n) / 2)), label(text, left - 8, y((top * n) / 2) + 4, "end")]),
    ...below.map((tick) => label(tick.text, Math.min(tick.x, width - 16), height - 5, "middle")),
    ...marks.flatMap(({ at: when, name }) => {
      const late = place(when) > (left + right) / 2;
      return [line("mk", place(when), place(when), up, down), label(name, place(when) + (late ? -5 : 5), up + 9, late ? "end" : "start")];
    }),
    ...(stacked ? stacks(series, xs.length, x, y, slot) : series.flatMap((line) => course(line, xs.length, x, y))),
    ...limits.flatMap((limit) => [line("lim", left, right, y(limit.at), y(limit.at)), label(limit.name, right, y(limit.at) - 5, "end", "limt")]),
  ];
  const stops = xs.map((when, i) => {
    const rows = series.map(({ is, name, values }) => [is, name, values[i]]).filter(([, , n]) => !stacked || n || series.length === 1);
    return {
      id: when, lane: 0, x: x(i), href: hrefs[i],
      head: data.heads?.[i] ?? (step >= DAY ? days.format(when) : at(when)),
      rows: rows.length ? rows.map(([is, name, n]) => [is, name, n == null ? "–" : say(n)]).reverse() : [["", "nothing", ""]],
      box: [i ? (x(i - 1) + x(i)) / 2 : 0, i < xs.length - 1 ? (x(i) + x(i + 1)) / 2 : width, 0, height],
      mark: () => [line("cur", x(i), x(i), up, down), ...(stacked ? [] : series.filter(({ values }) => values[i] != null).map(({ is, values }) => svg("circle", { class: `dot c-${is}`, r: 4, cx: x(i), cy: y(values[i]) })))],
    };
  });
  const key = series.map(({ is, name, dash }) => [is, name, stacked ? is === "failed" && "hatched" : dash ? "dashed" : "lined"]);
  return { height, drawn, stops, key: key.map(([is, name, how]) => [is, name, how || ""]) };
}
plot.table = ({ x, series, say = number, step, heads, first = "From" }) => [
  [first, ...series.map(({ name }) => name)],
  ...x.map((when, i) => [heads?.[i] ?? (step >= DAY ? days.format(ms(when)) : at(when)), ...series.map(({ values }) => (values[i] == null ? "–" : say(values[i])))]).reverse(),
];

function stacks(series, count, x, y, slot) {
  const width = Math.max(1, Math.min(28, slot * 0.7));
  const drawn = [];
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (const { is, values } of series) {
      if (!values[i]) continue;
      const height = Math.max(1.5, y(sum) - y(sum + values[i]) - 1);
      drawn.push(box(is, x(i) - width / 2, y(sum + values[i]), width, height));
      sum += values[i];
    }
  }
  return drawn;
}

/** A line is broken where a value is missing; a single value is a dot. */
function course({ is, values, area, dash }, count, x, y) {
  const runs = [[]];
  for (let i = 0; i < count; i++) values[i] == null ? runs.push([]) : runs.at(-1).push(`${x(i).toFixed(1)},${y(values[i]).toFixed(1)}`);
  const full = runs.filter((points) => points.length);
  const end = (point) => point.split(",")[0];
  const ground = full.map((points) => `M${points.join("L")}L${end(points.at(-1))},${y(0)}L${end(points[0])},${y(0)}Z`).join("");
  const path = full.map((points) => `M${points.join("L")}`).join("");
  const alone = full.filter(({ length }) => length === 1).map(([point]) => point.split(","));
  return [...(area ? [svg("path", { class: `ar c-${is}`, d: ground })] : []), svg("path", { class: `ln c-${is}${dash ? " dash" : ""}`, d: path }), ...alone.map(([cx, cy]) => svg("circle", { class: `dot c-${is}`, r: 4, cx, cy }))];
}

// --- past and planned runs

/**
 * Lanes on one time axis: {said, from, to, now, lanes: [{name, past: [{from, to, is, what, href}], next: [{from, to,
 * what, href}]}], key: [[is, name, how]]}. What ran is filled, what will run is dashed. With little room, less time is shown.
 */
export const axis = (root, data) => show(root, data, runs);

function runs(width, data) {
  const now = ms(data.now);
  const narrow = width < NARROW;
  const less = (when) => (narrow ? now + (ms(when) - now) / 2 : ms(when));
  const [from, to] = [less(data.from), less(data.to)];
  const [left, lane, top] = narrow ? [0, 42, 24] : [168, 32, 24];
  const height = top + data.lanes.length * lane + 6;
  const x = (when) => left + ((width - left) * (Math.max(from, Math.min(to, when)) - from)) / (to - from);
  const hours = ticks(from, to, Math.floor((width - left) / 84));
  const drawn = hours.flatMap(({ at: when, text }) => {
    const clear = Math.abs(x(when) - x(now)) > 62;
    return [line("g", x(when), x(when), top - 4, height), label(clear ? text : "", Math.max(left + 16, Math.min(width - 18, x(when))), 12, "middle")];
  });
  const stops = [];
  data.lanes.forEach(({ name, past = [], next = [] }, n) => {
    const [above, middle] = [top + n * lane, top + (n + 0.5) * lane + (narrow ? 8 : 0)];
    const most = narrow ? width / 7 : 22;
    const shortName = name.length > most ? `${name.slice(0, most - 1)}…` : name;
    if (n) drawn.push(line("g", 0, width, above, above));
    drawn.push(svg("text", { x: 0, y: narrow ? above + 14 : middle + 4, class: "lane" }, svg("title", {}, name), shortName));
    const drawRun = (run, planned) => {
      const [a, b] = [ms(run.from), ms(run.to ?? run.from)];
      if (b < from || a > to) return;
      const [l, w] = [x(a), Math.max(4, x(b) - x(a))];
      drawn.push(planned ? svg("rect", { class: "ghost", x: l + 0.75, y: middle - 6.25, width: w, height: 12.5, rx: 3 }) : box(run.is, l, middle - 7, w, 14, { rx: 3 }));
      stops.push({
        id: `${name} ${a}`, lane: n, x: l + w / 2, y: middle + 12, href: run.href, planned,
        head: name,
        rows: [[planned ? "" : run.is, run.what, planned ? at(a) : `${at(a)} – ${clock.format(b)}`]],
        box: [l, l + w, middle - 7, middle + 7],
        mark: () => [svg("rect", { class: "cur", x: l - 2, y: middle - 9, width: w + 4, height: 18, rx: 4 })],
      });
    };
    for (const run of past) drawRun(run, false);
    for (const run of next) drawRun(run, true);
  });
  drawn.push(line("now", x(now), x(now), top - 6, height), label(`Now ${clock.format(now)}`, Math.max(30, Math.min(width - 32, x(now))), 12, "middle", "nowt"));
  const first = stops.findLastIndex(({ planned }) => !planned);
  return { height, drawn, stops, key: data.key ?? [], first: Math.max(0, first) };
}
runs.table = ({ lanes, now }) => {
  const body = lanes.flatMap(({ name, past = [], next = [] }) => [...past, ...next].map((run) => ({ ...run, name, planned: ms(run.from) > ms(now) })));
  body.sort((a, b) => ms(b.from) - ms(a.from));
  const link = ({ href, name }) => (href ? h("a", { href }, name) : h("span", {}, name));
  return [["Run of", "Outcome", "From", "To"], ...body.map((run) => [link(run), h("span", {}, run.what), at(run.from), run.planned ? "" : at(run.to)])];
};

// --- small ones

/**
 * The last runs of a schedule, the newest at the right: [{is: "completed", share, tip}]. *share* (of 1) is the height; one
 * of 0 is a line. What failed has a cross too.
 */
export function strip(runs, saying, most) {
  hatch();
  const cells = runs.slice(-most);
  const drawn = cells.map(({ is, tip, share }, i) => {
    const x = (most - cells.length + i) * 6;
    const high = is === "failed" ? 4 : share ? Math.max(3, 20 * share) : 2;
    const cross = is === "failed" ? [svg("path", { class: "cross", d: `M${x + 0.5},9l3.5,3.5m0,-3.5l-3.5,3.5` })] : [];
    return svg("g", {}, svg("title", {}, tip), svg("rect", { class: `bx c-${is}`, x: x, y: 20 - high, width: 4.5, height: high, rx: 1 }), ...cross);
  });
  return svg("svg", { class: "strip", viewBox: `0 0 ${most * 6} 20`, role: "img", "aria-label": saying }, ...drawn);
}

/** Draw *values* into *el*, an svg.spark; what they say stands beside it. */
export function spark(el, values) {
  const top = Math.max(...values, 1e-9);
  const points = values.map((n, i) => `${((i / Math.max(1, values.length - 1)) * 88).toFixed(1)},${(23 - (n / top) * 21).toFixed(1)}`);
  const d = values.length > 1 ? `M${points.join("L")}` : "";
  if (!el.firstChild) {
    for (const [name, value] of Object.entries({ viewBox: "0 0 88 24", preserveAspectRatio: "none", "aria-hidden": "true" })) el.setAttribute(name, value);
    el.append(svg("path", { class: "a" }), svg("path", {}));
  }
  el.firstChild.setAttribute("d", d && `${d}L88,24L0,24Z`);
  el.lastChild.setAttribute("d", d);
}
