/** Command palette: search, navigation and actions in one field. */
import { get, query, segment } from "../core/api.js";
import { $, $$, h, icon, write } from "../core/dom.js";
import { stateWord } from "../core/fmt.js";
import { later } from "../core/timing.js";
import { may, recent } from "../core/user.js";
import { merged } from "./job.js";

const WAIT_MS = 120;
const MOST = 5; // of each kind
const SITE = /^(https?:\/\/\S+|[\w-]+(\.[\w-]+)+(:\d+)?(\/\S*)?)$/i;
const ID = /^[\da-f-]{6,36}$/i; // or its beginning or end

const APART = "summary, .new, :disabled, [hidden], [hidden] *, [inert] *, :is(form, table, li, dialog, .pager, .none, #unloaded) *"; // of one row, of a form
const place = (name, href, sign, hint = "") => ({ name, href, sign, hint });
const press = (name, query, sign, hint = "") => ({ name, sign, hint, run: () => $(query).click() });
const word = (el) => (el.ariaLabel || el.firstChild.nextSibling?.textContent || el.textContent).trim();

/** Global commands and places, and the buttons of this page. */
function commands() {
  const here = $$("main > .bar .btn, .body .btn").filter((el) => !el.matches(APART) && (el.closest(".drop:not([open])") ?? el).checkVisibility({ visibilityProperty: true }));
  const pages = $$("#side .to").map((el) => place(word(el), el.getAttribute("href"), $("use", el).getAttribute("href").slice(3), el.dataset.go && `g ${el.dataset.go}`));
  const commands = [["jobs:write", "New crawl", "/jobs/new", "plus", "n"], ["schedules:write", "New schedule", "/schedules/new", "schedules"], ["templates:write", "New template", "/templates/new", "templates"]];
  return [
    ["This page", here.map((el) => ({ name: el.ariaLabel || el.textContent.trim(), sign: "more", hint: el.dataset.key, run: () => el.click() }))],
    ["Go to", [
      ...pages,
      place("Calendar", "/schedules/calendar", "schedules", "Schedules"),
      ...["Tokens", "Notifications", "Webhooks", "System"].map((name) => place(name, `/settings/${name.toLowerCase()}`, "settings", "Settings")),
    ]],
    ["Do", [
      ...commands.filter(([permit]) => may(permit)).map(([, ...command]) => place(...command)),
      press("Switch between light and dark", "#theme", "theme", "theme"),
      { name: "Show keyboard shortcuts", sign: "menu", hint: "?", run: () => $("#help").showModal() },
      press("Sign out", "#signout", "signout"),
    ]],
  ];
}

/** The words of *text* as a filter of jobs, unless it is one already: "state:failed host:docs.example.org". */
const filter = (text) => (/^-?\w+:[^/]/.test(text) ? text : text.split(/\s+/).map((part) => JSON.stringify(part)).join(" "));

function job(item) {
  const { id, title, host, shown: job } = merged({}, item);
  return place(title, `/jobs/${segment(id)}`, job, [stateWord(job), host].filter(Boolean).join(" · "));
}
const named = (kind) => ({ id, name }) => place(name, `/${kind}/${segment(id)}`, kind);
const page = ({ id, job_id, title, url }) => place(title || url, `/jobs/${segment(job_id)}/pages/${segment(id)}`, "results", url);

/** Results of the API: each source is queried separately and shown when it answers. */
const SOURCES = [
  ["Jobs by id", (text) => ID.test(text) && get(`/jobs${query({ id: text, limit: MOST })}`), job],
  ["Jobs", (text) => get(`/jobs${query({ q: filter(text), limit: MOST })}`), job],
  ["Schedules", (text) => get(`/schedules${query({ q: text, limit: MOST })}`), named("schedules")],
  ["Templates", (text) => get(`/templates${query({ q: text, limit: MOST })}`), named("templates")],
  ["Pages", (text) => text.length > 2 && get(`/pages${query({ q: text, limit: 3 })}`), page],
];

// --- the dialog

const list = h("div", { id: "found", role: "listbox", "aria-label": "Results" });
const input = h("input", { role: "combobox", "aria-expanded": "true", "aria-controls": "found", "aria-autocomplete": "list", "aria-label": "Search or jump to", placeholder: "Jobs, hosts, pages and commands", autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "go", maxlength: 200 });
const status = h("span", { role: "status" });
const key = (name) => h("kbd", {}, name);
const dialog = h("dialog.palette", { "aria-label": "Search or jump to" },
  h("div.q", {}, icon("search"), input, h("button.btn.sm.bare", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "Esc")),
  list,
  h("footer", {}, status, h("span.end", {}, key("↑"), " ", key("↓"), " choose"), h("span", {}, key("Enter"), " open"), h("span", {}, key("Ctrl"), " ", key("Enter"), " new tab")));
document.body.append(dialog);

let options = []; // as shown: {el, item}
let at = 0;
let turn = 0;

function shape(sign) {
  const el = icon(sign);
  el.dataset.is = sign; // of a state, with its hue
  return el;
}

function mark(to) {
  at = Math.max(0, Math.min(to, options.length - 1));
  options.forEach(({ el }, n) => { el.ariaSelected = n === at; });
  const { el } = options[at] ?? {};
  if (el) input.setAttribute("aria-activedescendant", el.id);
  else input.removeAttribute("aria-activedescendant");
  el?.scrollIntoView({ block: "nearest" });
}

function choose({ href, run, ...item }, apart) {
  if (href) recent({ href, ...item });
  if (href && apart) return window.open(href);
  dialog.close();
  if (href) location.assign(href);
  else run();
}

function show(groups) {
  const chosen = at && options[at]?.item; // by its user, who is not to lose it
  options = [];
  list.replaceChildren(...groups.filter(([, items]) => items.length).map(([name, items]) =>
    h("div", { role: "group", "aria-label": name }, h("b", { "aria-hidden": "true" }, name),
      items.map((item) => {
        const n = options.length;
        const el = h("div", { role: "option", id: `found-${n}`, onclick: (event) => choose(item, event.ctrlKey || event.metaKey), onpointermove: () => n === at || mark(n) },
          shape(item.sign), h("span.clip", {}, item.name), item.hint && h("small.clip", {}, item.hint));
        options.push({ el, item });
        return el;
      }))));
  mark(chosen ? Math.max(0, options.findIndex(({ item }) => item.name === chosen.name && item.href === chosen.href)) : 0);
}

const ask = later(WAIT_MS, async () => {
  const mine = turn;
  const text = input.value.trim();
  const matches = local(text);
  const results = SOURCES.map(([name]) => [name, []]);
  write(status, "Searching…");
  await Promise.all(SOURCES.map(async ([, look, view], n) => {
    try {
      results[n][1] = ((await look(text)) || { items: [] }).items.map(view);
    } catch (error) {
      if (mine === turn && error.status !== 422) write(status, error.message); // what is half typed is no fault
    }
    if (mine === turn && results[n][1].length) show([...matches.slice(0, -1), ...results, matches.at(-1)]);
  }));
  if (mine === turn && status.textContent === "Searching…") write(status, `${options.length} found`);
});

/** Results without the server: commands with all words of *text*, and further searches. */
function local(text) {
  const words = text.toLowerCase().split(/\s+/);
  const fits = ({ name, hint }) => words.every((part) => `${name} ${hint}`.toLowerCase().includes(part));
  const all = commands();
  if (!text) return [["Recent", recent()], ...all];
  return [
    ...all.map(([name, items]) => [name, items.filter(fits)]),
    ["Search", [
      SITE.test(text) && may("jobs:write") && place(`Crawl ${text}…`, `/jobs/new${query({ url: text })}`, "plus"),
      place(`All jobs that match ${text}`, `/jobs${query({ q: filter(text) })}`, "jobs"),
      place(`All pages with ${text}`, `/results${query({ q: text })}`, "results"),
    ].filter(Boolean)],
  ];
}

function typed() {
  turn += 1; // answers to what was typed before are stale
  at = 0;
  const text = input.value.trim();
  show(local(text));
  write(status, "");
  if (text) ask();
}
input.oninput = typed;
input.onkeydown = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (by) mark(Math.abs(by) === 1 ? (at + by + options.length) % options.length : at + by);
  else if (event.key === "Enter" && options[at]) choose(options[at].item, event.ctrlKey || event.metaKey);
  else return;
  event.preventDefault();
};
dialog.onclick = ({ target }) => target === dialog && dialog.close();
dialog.onclose = () => { turn += 1; };

/** Open the palette with *text*, or close it if open. */
export function open(text) {
  if (dialog.open) return dialog.close();
  if ($("dialog[open]")) return; // what is asked there comes first
  input.value = text;
  typed();
  dialog.showModal();
  input.focus();
}
