/** Jobs: found by a filter that the URL carries, watched, acted on one by one or all together. */
import { $, $$, act, ask, bind, complain, counted, fill, filled, get, int, keys, load, on, post, query, soon, STOP, toast, write } from "../core/all.js";
import { Table } from "../parts/table.js";
import { tables } from "../parts/told.js";
import { can, draw, merged } from "../parts/job.js";

const { q = "", state = "", limit = "" } = Object.fromEntries(new URLSearchParams(location.search));
const asked = { q, state, limit };
const form = $("#filter");
for (const field of form.elements) field.value = asked[field.name];
form.onsubmit = () => { for (const field of form.elements) field.disabled = !field.value; };
form.limit.onchange = () => form.requestSubmit();
for (const tab of $$("#states a")) {
  tab.href = `/jobs${query({ q, state: tab.dataset.state })}`;
  if (tab.dataset.state === state) tab.ariaCurrent = "page";
}
fill($(".none"), { filtered: q || state });

// --- the list

const bulk = $("#bulk");
const totals = bind($("#states"));
let matching = 0;
let stopped = false; // there are more than were counted
const told = (n) => `${int(n)}${stopped ? "+" : ""}`;
let every = false; // all that match are chosen, not only what is on this page

const table = new Table({
  root: $("#jobs"),
  row: "row",
  path: `/jobs${query(asked)}`,
  view(item) {
    const job = merged({}, item);
    const over = job.state !== "pending" && can(job, "retry");
    const may = { pause: can(job, "pause"), cancel: can(job, "cancel"), resume: job.state === "paused", retry: over && job.failed, again: over && !job.failed };
    return { ...job, may };
  },
  dress: (tr, job, row) => draw((row.bar ??= $(".pb", tr)), job),
  chose,
  shown: count,
});

tables.push(table);

function chose(chosen, all = false) {
  every = all;
  bulk.hidden = !chosen.size;
  write($("strong", bulk), all ? `All ${int(matching)} that match are selected` : `${int(chosen.size)} selected`);
  $("#match").hidden = all || chosen.size < table.rows.size || (chosen.size >= matching && !stopped);
  write($("#match"), `Select all ${told(matching)} that match this filter`);
}
$("#match").onclick = ({ target }) => {
  every = true;
  act(target, count);
};
$("#clear").onclick = () => table.choose([]);

async function count() {
  const { total, states } = await get(`/jobs/counts${query({ q })}`);
  stopped = Boolean(q) && total === STOP; // without a filter, no count stops
  totals(Object.fromEntries(Object.entries({ total, ...states }).map(([name, n]) => [name, told(n)])));
  let fit = state ? states[state] : total;
  // a bulk action names how many jobs it expects: these are counted in full
  if (every && stopped) fit = (await get(`/jobs${query({ q, state, count: "exact", limit: 1 })}`)).total;
  matching = fit;
  chose(table.chosen, every);
}

/** Read the list; a filter that cannot be read is shown its fault, under the character to blame. */
async function read() {
  const wrong = (problem) => problem.errors?.find(({ parameter }) => parameter === "q") ?? complain(problem);
  const fault = await table.reload().catch(wrong);
  if (!fault) return;
  write($("#fault pre"), `${" ".repeat(fault.position)}^`);
  write($("#fault p"), fault.detail);
  $("#fault").hidden = false;
}

const news = (job) => {
  const row = table.rows.get(job.id);
  if (row) table.patch(job.id, merged(table.view(row.item), job));
};
on("progress", (jobs) => jobs.forEach(news));
on("job.state job.updated", ({ job }) => job && news(job));
on("job.deleted", ({ job_id }) => table.drop(job_id));
on("counts", () => count().catch(complain));

/** See what fits the filter by now, and what waits for what: the list itself does not shift. */
async function look() {
  if (!table.rows.size) return read();
  const { items } = await get(`/jobs${query({ ...asked, fields: "id,version,state_reason,waits_for" })}`);
  const last = [...table.rows.keys()].at(-1);
  for (const item of items) {
    news(item);
    if (item.id > last || items.length < (limit || 50)) table.offer(item.id);
  }
}
on("job.created job.state", soon(1000, () => look().catch(complain)));

// --- what is done to all that are chosen

bulk.addEventListener("click", async ({ target: button }) => {
  const { bulk: action, ask: title, verb, fields } = button.dataset;
  if (!action) return;
  const number = every ? matching : table.chosen.size;
  const more = fields ? await ask({ title: filled(title, { number: int(number) }), fields, verb, bad: action === "cancel" }) : {};
  if (!more) return;
  // all that there are is a filter, too
  const filter = { q, [state ? "state" : "created_before"]: [state || "2999-01-01"] };
  const which = every ? { filter } : { ids: [...table.chosen] };
  const body = { action, scope: "failed", expected_count: number, ...which, ...more };
  const told = await act(button, () => post("/jobs/bulk", body));
  if (!told) return;
  table.choose([]);
  if (told.operation) follow(told.operation);
  else say(action, told.succeeded, told.failed, told.results.find(({ ok }) => !ok));
});

function say(action, good, bad, first) {
  const { said } = $(`[data-bulk=${action}]`).dataset;
  if (bad) toast(`${said}: ${int(good)} of ${counted(good + bad, "job")}. ${first.detail}`, { bad: true });
  else toast(`${said}: ${counted(good, "job")}`);
}

/** Show an operation while it runs. */
async function follow(operation) {
  const box = $("#operation");
  $("button", box).onclick = ({ target }) => act(target, () => post(`/operations/${operation.id}/cancel`));
  for (; operation.state === "running"; operation = await get(`/operations/${operation.id}`)) {
    fill(box, operation);
    draw($(".pb", box), { ...operation, way: operation.done / operation.total, found: operation.total });
    box.hidden = false;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  box.hidden = true;
  say(operation.request.action, operation.done - operation.failed, operation.failed, operation.failures[0]);
}

for (const key of "pcr") keys({ [key]: () => table.current && $(`[data-key=${key}]:not([hidden])`, table.current.tr)?.click() });

// --- views, columns, words of the filter

$("[name=query]", $("#ask-view").content).value = [q, state && `state:${state}`].filter(Boolean).join(" ");

const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
const boxes = $$("#columns input");
const away = localStorage.cyColumns?.split(",");
if (away) for (const box of boxes) box.checked = !away.includes(box.value);
($("#columns").onchange = () => {
  localStorage.cyColumns = boxes.filter((box) => !box.checked).map((box) => box.value);
  sheet.replaceSync(`${localStorage.cyColumns.replace(/\w+/g, "[data-c=$&]")} { display: none }`);
})();

const words = $$("#words option").map((option) => option.value);
form.q.oninput = () => {
  const [, before, begun] = /^(.*\s-?|-?)(\S*)$/.exec(form.q.value);
  const fit = words.filter((word) => word.startsWith(begun) && word !== begun);
  $("#words").replaceChildren(...fit.map((word) => new Option("", before + word)));
};

load(read);
load(async () => {
  const [last] = (await get("/operations?limit=1")).items;
  if (last?.kind === "jobs" && last.state === "running") follow(last);
});
