/** A page of a job: its text, stored parts, links, changes, and neighbours in its list. */
import { $, $$, Problem, act, bind, clip, complain, copy, counted, errorWord, exact, get, h, int, keys, load, query, segment, write } from "../core/all.js";
import { diff } from "../parts/diff.js";
import { attribute, lead, linkStatus } from "../parts/links.js";
import { Table } from "../parts/table.js";

const { job: of, page: id } = document.body.dataset;
const path = `/jobs/${segment(of)}`;
const MOST = 200_000; // characters of a part that are shown
const MOST_LINKS = 1000; // links whose pages open in the reader
const show = bind($("#main"));
let page;
let job;

// --- stored parts

const cache = {};

/** The beginning of a part, at most MOST characters: {text, whole}; null: no such part is stored. */
const part = (name) => (cache[name] ??= begin(name));
async function begin(name) {
  const answer = await fetch(page.parts[name]);
  if (!answer.ok) return null;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length <= MOST) {
    const { value, done } = await reader.read();
    if (done) return { text, whole: true };
    text += value;
  }
  reader.cancel();
  return { text: text.slice(0, MOST), whole: false };
}

/** The part with the document of the record. */
const document_of = () => (page.rendered_by ? "rendered" : "html");

const nothing = (noun) => h("p.none", {}, `No ${noun} is stored for this page.`);
const cut = ({ whole }) => !whole && h("p.mut", {}, `Only the first ${int(MOST)} characters are shown. Download to see the rest.`);

/** The pages that this one links to, by their URLs. */
async function linked() {
  const pageIds = new Map();
  let cursor;
  for (let offset = 0; offset < MOST_LINKS; offset += 200) {
    const { items, next_cursor } = await get(`${path}/links${query({ from: page.final_url, limit: 200, cursor })}`);
    for (const { target, target_id } of items) if (target_id) pageIds.set(target, target_id);
    if (!(cursor = next_cursor)) break;
  }
  return pageIds;
}

/** The Markdown of the page, as nodes: {nodes, whole}; null: no text is stored. */
async function read() {
  const answer = await fetch(`${location.pathname}/reader`);
  if (answer.status === 404) return null;
  const body = await answer.json();
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

/** Build a *node* of the Markdown; links to one of *pages* stay in the dashboard. */
function build(node, pages) {
  if (typeof node === "string") return node;
  const [tag, { ...attributes }, ...children] = node;
  const page_id = URL.canParse(attributes.href) && pages.get(new URL(attributes.href).href.split("#")[0]);
  if (page_id) Object.assign(attributes, { target: null, rel: null }, lead(of, attributes.href, page_id));
  return h(tag, attributes, children.map((child) => build(child, pages)));
}

const PANELS = {
  async reader(panel) {
    const markdown = job.spec.text.endsWith("markdown");
    const [text, pages] = await Promise.all([markdown ? read() : part("text"), linked()]);
    const plain = () => text.text.trim() && text.text.split(/\n\s*\n/).map((lines) => h("p.lines", {}, lines));
    const nodes = text && (text.nodes?.map((node) => build(node, pages)) ?? plain());
    if (!nodes?.length) return panel.append(nothing("text"));
    panel.append(...nodes, cut(text) || "");
  },
  async text(panel) {
    const text = await part("text");
    panel.append(text ? h("pre.kept", { tabindex: 0, role: "region", "aria-label": "Text" }, text.text) : nothing("text"), (text && cut(text)) || "");
  },
  async source(panel) {
    const source = await part(document_of());
    if (!source) return panel.append(nothing("source"));
    if (page.rendered_by) panel.append(h("p.mut", {}, "After its scripts have run. ", h("a", { href: page.parts.html, target: "_blank" }, "As sent by the server")));
    const lines = source.text.split("\n").length;
    const numbers = Array.from({ length: lines }, (_, n) => n + 1).join("\n");
    panel.append(h("div.kept.source", { tabindex: 0, role: "region", "aria-label": "Source" }, h("pre", { "aria-hidden": "true" }, numbers), h("pre", {}, source.text)), cut(source) || "");
  },
  async preview(panel) {
    if (await part(document_of())) $("iframe", panel).src = page.parts[document_of()];
    else panel.replaceChildren(nothing("source"));
  },
  screenshot(panel) {
    const picture = h("img.shot", { src: page.parts.screenshot, alt: `The page as rendered by ${page.rendered_by}` });
    picture.onerror = () => panel.replaceChildren(nothing("picture"));
    panel.append(picture);
  },
  headers(panel) {
    panel.append(page.headers?.length ? h("dl.facts.mono", {}, page.headers.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])) : nothing("header"));
  },
  links() {
    links.in.show(`${path}/links${query({ to: page.final_url })}`).catch(complain);
    links.out.show(`${path}/links${query({ from: page.final_url })}`).catch(complain);
  },
  async changes(panel) {
    const schedule = job.origin.schedule_id;
    const say = (text) => panel.append(h("p.none", {}, text));
    if (!schedule) return say("Only runs of a schedule are compared with the previous run.");
    const { items } = await get(`/schedules/${schedule}/changes?limit=200`);
    const base = items.find(({ job_id }) => job_id === of)?.base_id;
    if (!base) return say("There is no earlier run to compare with, or this one has not ended.");
    const change = await get(`/jobs/${base}/diff/${segment(of)}/page${query({ url: page.final_url })}`).catch((error) => error);
    if (change instanceof Problem) return say(change.status === 404 ? "The previous run has no text for this page." : change.message);
    const before = h("a", { href: `/jobs/${base}/pages/${change.before}` }, "the previous run");
    const much = change.hunks.length ? `${counted(change.added, "line")} added, ${int(change.removed)} removed` : "no relevant change";
    const drawn = h("div.diff", { role: "region", "aria-label": "What changed in the text", tabindex: 0 });
    const all = h("a", { href: `/jobs/${segment(of)}/changes${query({ with: base, page: page.final_url })}` }, "All changes");
    panel.append(h("p.mut", {}, "Compared with ", before, `: ${much}. `, all), drawn);
    diff(drawn, change, false);
  },
};

// --- its links

class Links extends Table {
  constructor(way, url, at) {
    const view = (link) => ({ ...link, ...linkStatus(link) });
    const dress = (tr, link) => {
      const a = $("a", tr);
      attribute(a, lead(of, link[url], link[at]));
      write(a, link[url]);
      write($(".words", tr), link.text && `“${link.text}”`);
    };
    super({ root: $(`#links-${way}`), row: `link-${way}`, id: "place", view, dress });
  }

  items(items) {
    super.items(items.map((link, place) => ({ ...link, place: `${place} ${link.source} ${link.target}` })));
  }
}
const links = { in: new Links("in", "source", "source_id"), out: new Links("out", "target", "target_id") };

// --- tabs, which are kept from page to page

const draws = () => Boolean(page.rendered_by) && job.spec.screenshot !== "off";
const all = $$("[role=tab]");
let tabs = all;
function open() {
  $("#t-screenshot").hidden = !draws();
  tabs = all.filter(({ hidden }) => !hidden);
  const name = tabs.find(({ hash }) => hash === location.hash)?.hash.slice(1) ?? "reader";
  for (const tab of tabs) {
    const on = tab.id === `t-${name}`;
    tab.ariaSelected = on;
    tab.tabIndex = on ? 0 : -1;
    const panel = $(`#p-${tab.id.slice(2)}`);
    panel.hidden = !on;
    if (on && !panel.begun) {
      panel.begun = true;
      Promise.resolve(PANELS[name](panel)).catch(complain);
    }
  }
  for (const beside of $$("#previous, #next")) if (beside.href) beside.hash = location.hash;
  const tab = $(`#t-${name}`);
  tab.parentElement.scrollLeft = tab.offsetLeft - 60; // of a phone
}
addEventListener("hashchange", open);
const turn = (by) => {
  const at = tabs.findIndex(({ ariaSelected }) => ariaSelected === "true");
  const tab = tabs[(at + by + tabs.length) % tabs.length];
  tab.click();
  return tab;
};
$(".tabs").onkeydown = (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (by) turn(by).focus();
};
for (const tab of all)
  tab.onclick = (event) => {
    event.preventDefault();
    history.replaceState(null, "", tab.hash);
    open();
  };
keys({ "[": () => turn(-1), "]": () => turn(1), j: () => $("#next").click(), k: () => $("#previous").click() });

// --- around it

const VIA = { seed: "start URL", sitemap: "sitemap", listed: "listed in a sitemap", refresh: "redirected from the previous page", external: "a link out of scope", link: "link" };
async function way() {
  const { items } = await get(`${path}/path${query({ url: page.final_url })}`);
  const { origin } = new URL(page.final_url);
  $("#way").replaceChildren(...items.map(({ url, via, page_id, text }) => {
    const here = String(page_id) === id;
    const brief = url.startsWith(`${origin}/`) ? url.slice(origin.length) : url;
    return h(here ? "li.here" : "li", {},
      here ? h("span.mono", {}, brief) : h("a.mono", lead(of, url, page_id), brief),
      h("small", {}, via === "link" && text ? `link “${text}”` : VIA[via] ?? via));
  }));
}

async function beside() {
  const filter = new URLSearchParams(location.search);
  const neighbours = await get(`${path}/pages/${id}/neighbours${location.search}`);
  for (const name of ["previous", "next"]) {
    const el = $(`#${name}`);
    el.hidden = !neighbours[name];
    if (neighbours[name]) el.href = `${path}/pages/${neighbours[name]}${location.search}${location.hash}`;
  }
  write($("#place"), neighbours.total ? `${int(neighbours.position)} of ${int(neighbours.total)}` : filter.size ? "in a filtered list" : "");
}

const WHY = { needs_scripts: "as it needs scripts", always: "like all pages of the job", pattern: "by the pattern of the job" };
function details() {
  const own = page.canonical && (page.canonical === page.final_url ? "this page" : page.canonical);
  const facts = {
    Title: page.title, Description: page.description, Language: page.lang, Canonical: own,
    "Found as": page.url === page.final_url ? "" : page.url,
    "Last modified": page.last_modified, "Not changed since": page.unchanged_since && exact(page.unchanged_since),
    Cookies: page.session && `of session ${page.session}`, Rendered: page.rendered_by && `by ${page.rendered_by}, ${WHY[page.render_reason]}`,
    Noindex: page.noindex && "yes", Text: page.nearly_empty && !page.error && "none, or hardly any", "Cut off": page.truncated,
    ...Object.fromEntries(Object.entries(page.extracted).map(([name, values]) => [name, values.join("; ") || "not found"])),
  };
  $("#details").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  const more = Object.keys(page.structured).length;
  $("#structured").hidden = !more;
  if (more) write($("#structured pre"), JSON.stringify(page.structured, null, 2).slice(0, MOST));
}

function savers() {
  const name = new URL(page.final_url).pathname.split("/").filter(Boolean).at(-1)?.replace(/[^\w.-]+/g, "-").replace(/\.\w{1,5}$/, "") || "page";
  const endings = { text: job.spec.text.endsWith("markdown") ? "md" : "txt", html: "html" };
  for (const link of $$("[data-save]")) {
    link.href = page.parts[link.dataset.save];
    link.download = `${name}.${endings[link.dataset.save]}`;
  }
}

for (const button of $$("[data-take]"))
  button.onclick = () => act(button, async () => {
    if (button.dataset.take === "url") return clip(page.final_url, "URL");
    const answer = await fetch(page.parts.text);
    if (!answer.ok) throw new Problem(404, { detail: "No text is stored for this page." });
    await clip(await answer.text(), "Text");
  });

load(async () => {
  if (page) return;
  const around = beside();
  around.catch(() => {}); // reported below, or the page does not exist either
  try {
    [page, job] = await Promise.all([get(`${path}/pages/${segment(id)}`), get(path)]);
  } catch (error) {
    if (error.status !== 404 && error.status !== 422) throw error;
    return $("#viewer").replaceWith(copy("missing"));
  }
  const name = page.title || page.final_url;
  show({
    ...page, name, job: { title: job.spec.name || job.spec.urls[0] || "Job" },
    scripts: page.rendered_by ? "Its scripts were run" : "Its scripts were not run",
    said: page.status ?? (page.error && errorWord(page.error.kind)), is: page.error ? "failed" : "completed",
  });
  document.title = `${name} · Crawlyard`;
  for (const list of $$("[data-list-of]")) list.search = location.search;
  details();
  savers();
  open();
  await Promise.all([around, way()]);
});
