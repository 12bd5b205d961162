/** A new crawl: what is asked for, what it would take, and the same as a command. */
import { $, $$, ago, ask, at, brief, bytes, clip, copy, counted, dur, fill, get, h, int, later, load, may, post, rows, segment, user, write } from "../core/all.js";
import * as forms from "../core/form.js";
import { command, curl, quoted, summaries, under } from "../parts/crawl.js";
import { chosen, params } from "../parts/params.js";

const form = $("#form");
const { template, urls, allow_addresses: opened } = form.elements;
const address = new URLSearchParams(location.search);
const templates = new Map();
const summed = summaries(form);
let turn = 0;
let granted = false; // an admin has opened an address for this crawl

/** The body of `POST /jobs`. */
const values = () => ({ ...forms.read(form), ...(granted && { grant: true }) });

template.onchange = () => {
  const preset = templates.get(template.value);
  params($("#params"), preset);
  under(form, preset?.spec);
  summed();
  write($("#about"), preset?.description ?? "");
  $("#start").hidden = Boolean(preset?.spec.urls);
  $("[data-alone]").hidden = Boolean(preset);
  $("#repeat").href = preset ? `/schedules/new?template=${segment(preset.id)}` : "/schedules/new";
};

urls.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit($("[value=start]"));
};

// --- what it would take: asked for by the button alone, as hosts are asked then

/** Unknown parts of the estimate. */
const unknown = (value, word) => (value == null ? "unknown" : word(value));
const about = (n) => int(n < 100 ? n : Number(n.toPrecision(2)));
const long = (s) => (s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`);
const between = (a, b) => (long(a) === long(b) ? long(a) : `${long(a)} to ${long(b)}`);
const SIGN = { exact: "", about: "≈ ", at_least: "at least ", at_most: "up to " };
const FROM = { start_urls: "follows no links", sitemaps: "by the sitemaps", earlier: "as many as last time", unknown: "no sitemap or earlier crawl to estimate from" };
const VERDICT = { yes: "Yes: ", perhaps: "Perhaps: ", unknown: "Unknown for: ", no: "No, it should finish on its own." };
const LIMITS = { pages: ["Pages", int], duration: ["Running time", long], bytes: ["Data", bytes] };

async function look() {
  const body = values();
  const mine = ++turn;
  const test_urls = $("#test").value.split("\n").map((url) => url.trim()).filter(Boolean).map(forms.address);
  write($("#checked"), "asking…");
  try {
    const preview = await post("/jobs/preview", { ...body, start_at: undefined, test_urls });
    if (mine !== turn) return;
    write($("#checked"), "just now");
    show(preview);
    exists(preview);
  } catch (error) {
    write($("#checked"), "");
    $("#seen").hidden = true;
    $("#ahead").hidden = false;
    throw error;
  }
}

const judged = ({ inside, ...result }) => ({ ...result, is: inside ? "completed" : "failed", said: inside ? "in" : "out" });

/** One meter: how much of a limit is used for certain, and perhaps. */
function meter({ limit, most, least_used: least, most_used: used, verdict }) {
  const [name, word] = LIMITS[limit];
  const usage = used == null ? "unknown" : (least === used ? "" : "up to ") + word(used);
  const el = copy("meter", { name, said: most == null ? `${usage}, no limit` : `${usage} of ${word(most)}` });
  const parts = verdict === "yes" ? [0, 1] : most && used != null ? [least / most, (used - least) / most] : [0, 0];
  let x = 0;
  for (const rect of el.querySelectorAll("rect")) {
    const width = Math.min(100 - x, 100 * parts.shift());
    rect.setAttribute("x", x);
    rect.setAttribute("width", Math.max(0, width));
    x += width;
  }
  return el;
}

function judgement(limits) {
  for (const word of ["yes", "perhaps", "unknown"]) {
    const stopping = limits.filter((limit) => limit.verdict === word);
    if (stopping.length) return `${VERDICT[word]}${stopping.map(({ limit }) => LIMITS[limit][0].toLowerCase()).join(", ")}.`;
  }
  return VERDICT.no;
}

/** Say that a job has the unique key of this crawl; return whether there is one. */
function exists({ existing_id }) {
  if (existing_id) fill($("#exists"), { existing_id });
  $("#exists").hidden = !existing_id;
  return Boolean(existing_id);
}

function show({ config, start_urls, start_count, origins, sitemaps, tested, missing, estimate }) {
  $("#ahead").hidden = true;
  $("#seen").hidden = false;
  const { basis, bound, pages, least_s, most_s, bytes: size, delay_s, delay_by, earlier, limits } = estimate;
  const read = sitemaps.filter((sitemap) => sitemap.urls);
  const sum = (name) => read.reduce((n, sitemap) => n + sitemap[name], 0);
  const takes = unknown(least_s, (s) => between(s, most_s)) + (least_s == null ? " time" : "");
  const data = size == null ? "data unknown" : `about ${bytes(size)}`;
  const gap = brief(delay_s);
  const by = delay_by === "robots" ? "from robots.txt" : "as set here";
  fill($("#seen"), {
    size: pages == null ? "Size unknown" : `${SIGN[bound]}${counted(Number(about(pages).replace(/\D/g, "")), "page")}`,
    takes: pages == null ? FROM.unknown : `${takes}, ${data} · ${FROM[basis]}`,
    scope: `${config.scope}, ${config.max_depth == null ? "any depth" : counted(config.max_depth, "link") + " deep"}`,
    named: read.length ? `${counted(sum("urls"), "URL")}, ${int(sum("urls") - sum("inside"))} of them out` : "none",
    pace: delay_s ? `a request each ${gap} per host, ${by}` : "as fast as the host responds",
    earlier,
    last: earlier && `${ago(earlier.ended_at)}, ${counted(earlier.pages, "page")} in ${long(earlier.duration_s)}`,
    verdict: judgement(limits),
  });
  $("#meters").replaceChildren(...limits.map(meter));
  rows($("#starts"), "tested-url", start_urls.slice(0, 10).map(judged));
  if (start_count > 10) $("#starts").append(h("li.mut", {}, `and ${int(start_count - 10)} more`));
  rows($("#origins"), "origin", origins.map((origin) => {
    const no = origin.start_allowed === false;
    return { ...origin, is: no ? "failed" : origin.robots === "had" ? "completed" : "warning", said: no ? "forbids" : origin.robots === "had" ? "allows" : "unknown", problem: origin.problem || origin.rule };
  }));
  $("#maps").hidden = !sitemaps.length;
  rows($("#sitemaps-seen"), "map", sitemaps);
  rows($("#tested"), "tested-url", tested.map(judged));
  rows($("#missed"), "miss", missing.map((text) => ({ text })));
  const closed = origins.find(({ blocked }) => blocked);
  if (closed) refuse(new URL(closed.origin).host, closed.problem.split(";")[0]);
}

/** What is shown is of the form as it was. */
form.addEventListener("input", later(200, () => {
  if ($("#seen").hidden === false) write($("#checked"), "The form has changed. Estimate again.");
}));

/** Do *work* while *button* waits; what is wrong is shown at its field. */
async function trying(button, work) {
  forms.clear(form);
  $("#refused").hidden = true;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    fault(error);
  } finally {
    button.disabled = false;
  }
}

$("#estimate").onclick = ({ currentTarget }) => trying(currentTarget, look);

// --- a private address: why it is refused, and what opens it for this crawl

function fault(error) {
  if (!error.code) throw error;
  const closed = error.errors?.find((fault) => fault.code === "not_public");
  if (!closed) return forms.blame(form, error);
  const [, url, why] = /(\S+): ([^;]*)/.exec(closed.detail.replace("urls: ", ""));
  return refuse(new URL(url).host, why);
}

async function refuse(host, title) {
  const admin = may("admin");
  const more = "Crawls can only reach public addresses unless an admin allows others, so that this server cannot be used to probe your network.";
  const why = `${more} ${admin ? "You are an admin: you can allow this here." : await adminNames()}`;
  fill($("#refused"), { host, admin, title, why });
  $("#refused").dataset.host = host;
  $("#refused").hidden = false;
}

/** Whom to ask: the admins, if the user may see who they are. */
async function adminNames() {
  const { admins } = await get("/auth/me");
  return admins.length ? `Ask ${admins.join(" or ")}.` : "Ask an admin.";
}

$("#grant").onclick = ({ currentTarget }) => trying(currentTarget, async () => {
  const { host } = $("#refused").dataset;
  opened.value = [...opened.value.split("\n").filter(Boolean), host].join("\n");
  granted = true;
  write($("#granted"), `${host} is allowed for this crawl`);
  $("#granted").hidden = false;
  summed();
});
$("#link").onclick = () => clip(`${location.origin}/jobs/new?url=${encodeURIComponent(urls.value.trim())}`, "Link");

// --- sent

forms.submits(form, async (action) => {
  $("#refused").hidden = true;
  if (action === "start") {
    try {
      const body = values();
      if ((body.unique_key || body.template) && exists(await post("/jobs/plan", body))) return;
      return location.assign(`/jobs/${(await post("/jobs", body)).id}`);
    } catch (error) {
      return fault(error);
    }
  }
  const named = await ask({ title: "Save as template", verb: "Save", fields: "name-it" });
  const { start_at, template: _, grant, ...spec } = values();
  if (named) location.assign(`/templates/${(await post("/templates", { ...named, spec })).id}`);
});

/** Fill the form as a job was asked for: what is as by default stays empty. */
function again({ config, sources }) {
  forms.write(form, config);
  for (const el of $$("[data-label]", form)) if (sources[el.name] === "default") el.value = "";
}

/** Offer the last jobs that were completed, once somebody wants one. */
const { since } = form.elements;
since.setAttribute("list", "earlier");
since.after(h("datalist", { id: "earlier" }));
since.onfocus = async () => {
  since.onfocus = null;
  const { items } = await get("/jobs?state=completed&limit=50");
  const of = ({ id, spec: { name }, url, ended_at }) => h("option", { value: id }, `${name || url} · ${at(ended_at)}`);
  $("#earlier").append(...items.filter((job) => job.owner === user.id).map(of));
};

// --- the same elsewhere

$("#cli").onclick = () => {
  const { words, unsaid } = command(form);
  const { template: ref, params: params = {} } = values();
  if (ref) words.push("--template", quoted(ref));
  for (const [name, value] of Object.entries(params)) for (const item of [value].flat()) words.push("-p", quoted(`${name}=${item}`));
  clip(["crawlyard", "crawl", "-d", ...words].join(" "), unsaid.length ? `Command without ${unsaid.join(", ")}` : "Command");
};
$("#curl").onclick = () => clip(curl("/jobs", values()), "Command");

if (address.get("url")) urls.value = address.get("url"); // at once: the command can be copied before the templates are had
load(async () => {
  if (templates.size) return; // input stays
  const { items } = await get("/templates?limit=200");
  for (const preset of items) {
    if (!templates.has(preset.id)) template.append(h("option", { value: preset.id }, chosen(preset, user.id)));
    templates.set(preset.id, preset);
  }
  $("#from").hidden = !items.length;
  const job = address.get("job");
  if (job) again(await get(`/jobs/${segment(job)}/config`));
  form.elements.render.value = address.get("render") ?? form.elements.render.value;
  template.value = address.get("template") ?? template.value;
  template.onchange();
});
