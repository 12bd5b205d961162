/** The form of a crawl, as crawl.html makes it: what its groups hold, what is under it, the same as a command. */
import { $, $$, get, h, may, write } from "../core/all.js";
import { show, values } from "../core/form.js";

const MOST_SAID = 3;

/** What a control says, in words: empty if it leaves that to what is under it. */
const textOf = (el) => (el.localName === "select" ? (el.value && el.selectedOptions[0].text) : el.value.trim().replaceAll("\n", ", "));

/** Let each group of *form* say what it holds, also while it is closed; returns what does that again. */
export function summaries(form) {
  const groups = $$("details.more", form).map((group) => [$(".sum", group), $$("[data-label]", group)]);
  const again = () => {
    for (const [sum, all] of groups) {
      const set = all.filter(textOf);
      const controls = set.length ? set : all.filter((el) => defaults(el)).slice(0, 2);
      const more = controls.length - MOST_SAID;
      const words = controls.slice(0, MOST_SAID).map((el) => `${el.dataset.label}: ${textOf(el) || defaults(el)}`);
      write(sum, words.join(" · ") + (more > 0 ? ` · ${more} more` : ""));
      sum.classList.toggle("set", set.length > 0);
    }
  };
  form.addEventListener("input", again);
  again();
  offerSessions(form);
  return again;
}

/** Offer the user's sessions where a crawl names one, once somebody is there. */
function offerSessions(form) {
  const el = $("[data-label='Session']", form);
  if (!el || !may("sessions:read")) return;
  el.addEventListener("focus", async () => {
    const { items } = await get("/sessions");
    el.after(h("datalist", { id: "own-sessions" }, ...items.map(({ name, origins }) => h("option", { value: name }, origins.join(", ")))));
    el.setAttribute("list", "own-sessions");
  }, { once: true });
}

const choice = (el) => (el.localName === "select" ? el.options[0] : el);
const defaults = (el) => choice(el).dataset.under ?? choice(el).dataset.default ?? "";

/** Show in the controls, whose names begin with *prefix*, what *spec* says where they say nothing: that of a template. */
export function under(form, spec = {}, prefix = "") {
  for (const el of $$("[data-label]", form)) {
    const value = [el.name, el.dataset.also ?? el.name]
      .map((name) => name.slice(prefix.length).split(".").reduce((at, key) => at?.[key], spec))
      .find((value) => value != null);
    const at = choice(el);
    if (value == null) delete at.dataset.under;
    else at.dataset.under = el === at ? show(el, value) : ([...el.options].find((option) => option.value === String(value))?.text ?? String(value));
    if (el !== at) at.textContent = `${value == null ? "Default" : "Template"}: ${defaults(el)}`;
    else el.placeholder = defaults(el);
  }
}

/** Offer the places of a template, {{name}}, in each choice of *form*. */
export function offer(form, names) {
  for (const el of $$("select[data-label]", form)) {
    for (const option of [...el.options]) if (option.value.startsWith("{{") && !option.selected) option.remove();
    const has = [...el.options].map((option) => option.value);
    el.append(...names.map((name) => `{{${name}}}`).filter((text) => !has.includes(text)).map((text) => h("option", {}, text)));
  }
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);

/** The words of `crawlyard crawl` that ask for the same, and what no option can say. */
export function command(form) {
  const words = [];
  const unsaid = [];
  for (const el of $$("[data-label]", form)) {
    const chosen = el.localName === "select" && el.value ? el.selectedOptions[0] : el;
    const { flag } = chosen.dataset;
    const values_ = el.closest("[hidden]") ? [] : values(el);
    if (values_.length && flag === undefined && el.name !== "urls") unsaid.push(el.dataset.label);
    else if (chosen !== el) words.push(flag);
    else for (const value of values_) words.push(...(flag ? [flag] : []), quoted(value));
  }
  return { words, unsaid };
}

/** What is asked for as a body, as a command that sends it. */
export const curl = (path, body) =>
  `curl -H "Authorization: Bearer $CRAWLYARD_TOKEN" -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))} ${location.origin}/api/v1${path}`;
export { quoted };
