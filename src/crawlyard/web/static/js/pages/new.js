/** A new crawl: what is asked for, what it would do, and the same as a command. */
import { $, $$, ask, at, bytes, clip, counted, dur, get, h, int, later, load, post, rows, segment, user, write } from "../core/all.js";
import * as forms from "../core/form.js";
import { chosen, params } from "../parts/params.js";

const form = $("#form");
const { template, urls } = form.elements;
const asked = new URLSearchParams(location.search);
const templates = new Map();
let turn = 0;

/** The body of `POST /jobs`. */
const said = () => forms.read(form);

template.onchange = () => {
  const one = templates.get(template.value);
  params($("#params"), one);
  write($("#about"), one?.description ?? "");
  $("#start").hidden = Boolean(one?.spec.urls);
  $("[data-alone]").hidden = Boolean(one);
  look();
};

/** Show what it would do; a later look makes an earlier one stale. */
async function look() {
  const body = said();
  const mine = ++turn;
  forms.clear(form);
  if (!body.urls && !body.sitemaps && !body.template) return;
  try {
    const told = await post("/jobs/preview", { ...body, start_at: undefined, test_urls: $("#test").value.split("\n").map((url) => url.trim()).filter(Boolean) });
    if (mine === turn) show(told);
  } catch (error) {
    if (mine !== turn) return;
    if (!error.code) throw error;
    $("#seen").hidden = true;
    $("#ahead").hidden = false;
    write($("#ahead"), error.message);
  }
}

const judged = ({ inside, ...one }) => ({ ...one, is: inside ? "completed" : "failed", said: inside ? "in" : "out" });

function show({ config, start_urls, start_count, origins, sitemaps, tested, missing }) {
  $("#ahead").hidden = true;
  $("#seen").hidden = false;
  const { pages, bytes: size, duration_s, errors } = config.limits;
  const ends = [pages && counted(pages, "page"), duration_s && dur(duration_s), size && bytes(size), errors && counted(errors, "error")].filter(Boolean);
  const depth = config.max_depth == null ? "to any depth" : `to depth ${config.max_depth}`;
  const end = ends.length ? `at ${ends.join(", ")}` : "when nothing is left: no limit";
  write($("#limits"), `Scope ${config.scope}, ${depth}; ends ${end}.`);
  rows($("#starts"), "tested-url", start_urls.slice(0, 10).map(judged));
  if (start_count > 10) $("#starts").append(h("li.mut", {}, `and ${int(start_count - 10)} more`));
  rows($("#origins"), "origin", origins.map((one) => {
    const no = one.start_allowed === false;
    return { ...one, is: no ? "failed" : one.robots === "had" ? "completed" : "warning", said: no ? "forbids" : one.robots === "had" ? "allows" : "unknown", problem: one.problem || one.rule };
  }));
  $("#maps").hidden = !sitemaps.length;
  rows($("#named"), "map", sitemaps);
  rows($("#tested"), "tested-url", tested.map(judged));
  rows($("#missed"), "miss", missing.map((text) => ({ text })));
}

const soon = later(400, look);
form.addEventListener("change", soon);
urls.oninput = $("#test").oninput = later(800, look);

/** Offer the last jobs that were completed, once somebody wants one. */
form.elements.since.onfocus = async ({ target: el }) => {
  el.onfocus = null;
  const { items } = await get("/jobs?state=completed&limit=50");
  const of = ({ id, spec: { name }, url, ended_at }) => h("option", { value: id }, `${name || url} · ${at(ended_at)}`);
  $("#earlier").append(...items.filter((one) => one.owner === user.id).map(of));
};

forms.submits(form, async (what) => {
  if (what === "start") return location.assign(`/jobs/${(await post("/jobs", said())).id}`);
  const named = await ask({ title: "Keep this as a template", verb: "Save", fields: "name-it" });
  const { start_at, template: _, ...spec } = said();
  if (named) location.assign(`/templates/${(await post("/templates", { ...named, spec })).id}`);
});

// --- the same elsewhere

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);

function command() {
  const words = ["crawlyard", "crawl", "-d"];
  for (const el of $$("[data-flag]", form)) {
    const { flag, as } = el.dataset;
    if (el.type === "checkbox") {
      if (el.checked) words.push(flag);
    } else {
      const values = as === "lines" ? el.value.split("\n") : as === "words" ? el.value.split(/\s+/) : [el.value];
      for (const value of values.map((one) => one.trim()).filter(Boolean)) words.push(...(flag ? [flag] : []), quoted(value));
    }
  }
  const { template: ref, params: given = {} } = said();
  if (ref) words.push("--template", quoted(ref));
  for (const [name, value] of Object.entries(given)) for (const one of [value].flat()) words.push("-p", quoted(`${name}=${one}`));
  return words.join(" ");
}
$("#cli").onclick = () => clip(command(), "Command");
$("#curl").onclick = () => clip(`curl -H "Authorization: Bearer $CRAWLYARD_TOKEN" -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(said()))} ${location.origin}/api/v1/jobs`, "Command");

if (asked.get("url")) urls.value = asked.get("url"); // at once: the command can be copied before the templates are had
load(async () => {
  if (templates.size) return; // what is typed stays
  const { items } = await get("/templates?limit=200");
  for (const one of items) {
    if (!templates.has(one.id)) template.append(h("option", { value: one.id }, chosen(one, user.id)));
    templates.set(one.id, one);
  }
  const job = asked.get("job");
  if (job) forms.write(form, (await get(`/jobs/${segment(job)}/config`)).config);
  template.value = asked.get("template") ?? template.value;
  template.onchange();
});
