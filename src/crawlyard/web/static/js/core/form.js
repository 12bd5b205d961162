/** Forms: their values as an object, and the server's errors at their fields. */
import { $, $$, h } from "./dom.js";

const SIZES = { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const SPANS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** "2h 30m" or "90" in seconds; other text goes to the server unchanged. */
export function span(text) {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const part = /(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*/gi;
  const parts = [...text.matchAll(part)];
  if (!parts.length || text.replace(part, "")) return text;
  return parts.reduce((sum, [, n, unit]) => sum + n * SPANS[unit.toLowerCase()], 0);
}

/** "1.5 GB" in bytes. */
export function size(text) {
  const [, n, unit] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)b?$/i.exec(text) ?? [];
  return n ? Math.round(n * SIZES[unit.toLowerCase()]) : text;
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
/** Split at commas if there are any, else at white space: a tag may have spaces in it. */
const words = (text) => text.split(text.includes(",") ? "," : /\s+/).map((word) => word.trim()).filter(Boolean);
/** "docs.example.org/a" as "https://docs.example.org/a"; what is no address, as a place of a template, stays. */
export const address = (text) => (/^[^\s{}]*[.:][^\s{}]*$/.test(text) && !text.includes("://") ? `https://${text}` : text);
/** A plain number as one; the server reads the rest: 20k, 500MB, 1h30m. */
const quantity = (text) => (/^\d+(\.\d+)?$/.test(text) ? Number(text) : text);
/** "Name: value" or "name=selector" a line, as an object. */
const pairs = (sign) => (text) => Object.fromEntries(lines(text).map((line) => {
  const at = line.indexOf(sign);
  return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
}));
/** "URL event event {metadata}" a line; secrets that are known by their URL stay. */
const hooks = (text, el) => lines(text).map((line) => {
  const { url, events, metadata } = hook(line);
  return { ...el.hooks?.find((hook) => hook.url === url), url, ...(events.length && { events }), metadata: metadata && json(metadata, el) };
});
function hook(line) {
  const [, words, metadata] = /^(.*?)(?:\s+({.*))?$/.exec(line);
  const [url, ...events] = words.split(/\s+/);
  return { url, events, metadata };
}
/** The same as the command line takes it: a URL, or a JSON object. */
function hookWord(line) {
  const { url, events, metadata } = hook(line);
  const parts = [`"url": ${JSON.stringify(url)}`, events.length && `"events": ${JSON.stringify(events)}`, metadata && `"metadata": ${metadata}`];
  return events.length || metadata ? `{${parts.filter(Boolean).join(", ")}}` : url;
}
const number = (text) => (/^(true|false)$/.test(text) ? text === "true" : Number.isNaN(Number(text)) ? text : Number(text));

/** A JSON object; other text is an error of the field *el*. */
function json(text, el) {
  let hookText;
  try {
    hookText = JSON.parse(text);
  } catch (error) {
    hookText = error.message;
  }
  if (hookText && typeof hookText === "object" && !Array.isArray(hookText)) return hookText;
  const detail = typeof hookText === "string" ? hookText : "expected an object: {…}";
  throw Object.assign(new Error(detail), { code: "json", errors: [{ pointer: `/${el.name}`, detail }] });
}

/** The browser's zone is meant: "2027-01-01T08:00". */
const instant = (text) => new Date(text).toISOString();

/** How a field's text is read, by its data-as; empty fields are left out unless they say so. */
const READ = {
  text: (text) => text,
  url: address,
  urls: (text) => lines(text).map(address),
  headers: pairs(":"),
  pairs: pairs("="),
  ...{ lines, words, hooks, number, quantity, span, size, json, instant },
};
const listed = (sign) => (value) => (Array.isArray(value) ? value : Object.entries(value)).map((pair) => pair.join(sign)).join("\n");
const below = (value) => [value].flat().join("\n");
const SHOW = {
  json: (value) => (Object.keys(value).length ? JSON.stringify(value, null, 2) : ""),
  instant: (value) => new Date(Date.parse(value) - new Date(value).getTimezoneOffset() * 6e4).toISOString().slice(0, 16),
  lines: below,
  urls: below,
  words: (value) => [value].flat().join([value].flat().some((word) => /\s/.test(word)) ? ", " : " "),
  headers: listed(": "),
  pairs: listed("="),
  hooks: (value, el) => {
    el.hooks = [value].flat().map((hook) => (typeof hook === "string" ? { url: hook } : hook));
    return el.hooks.map(({ url, events = [], metadata = {} }) => [url, ...events, ...(Object.keys(metadata).length ? [JSON.stringify(metadata)] : [])].join(" ")).join("\n");
  },
  size: (value) => {
    if (typeof value === "string") return value; // "500MB", "none"
    const [unit, by] = Object.entries(SIZES).findLast(([, n]) => value % n === 0);
    return `${value / by} ${unit}B`;
  },
  span: (value) => {
    if (typeof value === "string") return value; // "1h30m", "none"
    return value % 3600 === 0 && value ? `${value / 3600}h` : value % 60 === 0 && value ? `${value / 60}m` : `${value}s`;
  },
};

/** The text of *value* in the field *el*. */
export const show = (el, value) => (value == null ? "" : (SHOW[el.dataset.as] ?? String)(value, el));

/** The values of *el*, one text per line or word. */
export function values(el) {
  const { as } = el.dataset;
  const text = el.value.trim();
  if (as === "words" || as === "urls") return READ[as](text);
  if (as === "hooks") return lines(text).map(hookWord);
  return el.localName === "textarea" ? lines(text) : [text].filter(Boolean);
}

const fields = (form) => $$("[name]", form).filter((el) => !el.disabled && !el.closest("[hidden]"));

/** Return the values of *form*: names with dots are objects; with *all*, empty fields are null. */
export function read(form, all = false) {
  const values = {};
  for (const el of fields(form)) {
    if (el.type === "radio" && !el.checked) continue;
    let value = el.type === "checkbox" ? el.checked : el.value.trim();
    if (value === "" || (value === false && !all && "off" in el.dataset)) {
      if (!all) continue;
      if (value === "") value = null;
    } else if (typeof value === "string") value = READ[el.dataset.as ?? "text"](value, el);
    const path = el.name.split(".");
    const last = path.pop();
    path.reduce((at, key) => (at[key] ??= {}), values)[last] = value;
  }
  return values;
}

/** The merge patch (RFC 7396) from *old* to *now*, without unchanged fields. */
export function changes(old, now) {
  const diff = {};
  for (const name in { ...old, ...now }) {
    const [was, is] = [old[name] ?? null, now[name] ?? null];
    const objects = [was, is].every((value) => value?.constructor === Object);
    if (JSON.stringify(was) !== JSON.stringify(is)) diff[name] = objects ? changes(was, is) : is;
  }
  return diff;
}

/** Write *values* into the fields of *form*. */
export function write(form, values) {
  const at = (name) => name.split(".").reduce((value, key) => value?.[key], values);
  for (const el of $$("[name]", form)) {
    const { also } = el.dataset;
    if (also && at(also) !== undefined) el.name = also; // as in the spec
    const value = at(el.name);
    if (value === undefined) continue;
    if (el.type === "checkbox") el.checked = Boolean(value);
    else if (el.type === "radio") el.checked = el.value === String(value);
    else {
      const text = show(el, value);
      if (el.localName === "select" && ![...el.options].some((option) => option.value === text)) el.append(h("option", {}, text));
      el.value = text;
    }
  }
}

/** Show the errors of *problem* at their fields; others above the form's buttons. */
export function blame(form, problem) {
  clear(form);
  const rest = [];
  for (const { pointer = "", parameter = "", detail } of problem.errors ?? [{ detail: problem.message }]) {
    const name = (pointer.slice(1) || parameter).replaceAll("/", ".");
    const own = fields(form);
    const el = own.find((field) => name === field.name) ?? own.find((field) => name.startsWith(`${field.name}.`) || name.endsWith(`.${field.name}`));
    if (!el) rest.push(detail);
    else point(el, name.startsWith(`${el.name}.`) ? detail : detail.replace(`${name}: `, ""));
  }
  if (rest.length) $(".errors", form)?.replaceChildren(...rest.map((text) => h("p.bad", {}, text)));
  ($("[aria-invalid]", form) ?? $(".errors", form))?.focus();
}

function point(el, text) {
  const folded = el.closest("details");
  if (folded) folded.open = true;
  const id = `e-${el.name}`;
  const ids = [el.dataset.help, id].filter(Boolean).join(" ");
  el.ariaInvalid = true;
  el.setAttribute("aria-describedby", ids);
  el.after(h("small.bad.error", { id }, text));
}

export function clear(form) {
  for (const el of $$(".error", form)) el.remove();
  for (const el of $$("[aria-invalid]", form)) el.ariaInvalid = null;
  $(".errors", form)?.replaceChildren();
}

/** Call *work* when *form* is submitted, with its errors cleared; show the server's errors. */
export function submits(form, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clear(form);
    const button = event.submitter;
    if (button) button.disabled = true;
    try {
      await work(button?.value);
    } catch (error) {
      if (error.name !== "Error" || !error.code) throw error;
      blame(form, error);
    } finally {
      if (button) button.disabled = false;
      if (document.activeElement === document.body) button?.focus();
    }
  });
}
