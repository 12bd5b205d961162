/** DOM helpers: query, create, fill. Crawled content is inserted as text, never as markup. */
import * as fmt from "./fmt.js";

export const $ = (query, root = document) => root.querySelector(query);
export const $$ = (query, root = document) => [...root.querySelectorAll(query)];

/** h("a.btn", {href, onclick, data: {is}}, "text", child, …) */
export function h(spec, props, ...children) {
  const [tag, ...classes] = spec.split(".");
  const el = document.createElement(tag || "div");
  if (classes.length) el.className = classes.join(" ");
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(el.dataset, value);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((child) => child != null && child !== false));
  return el;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes, ...children) {
  const el = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) el.setAttribute(name, value);
  el.append(...children);
  return el;
}

/** A decorative icon of icons.html; the text beside it has the meaning. */
export const icon = (name) => svg("svg", { class: "i", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

/** Write *text* only where it differs: an unchanged cell costs no layout. */
export function write(el, text) {
  const node = el.firstChild;
  if (node?.nodeType === 3 && !node.nextSibling) {
    if (node.data !== text) node.data = text;
  } else el.textContent = text;
}

const at = (item, path) => path ? path.split(".").reduce((value, key) => value?.[key], item) : item;
export const filled = (pattern, item) => pattern.replace(/{([\w.]+)}/g, (_, path) => at(item, path) ?? "");
export const located = (pattern, item) =>
  pattern.replace(/{([\w.]+)}/g, (_, path) => encodeURIComponent(at(item, path) ?? ""));

/**
 * Make *children* the content of *el*. Those that stay are not moved: an element that leaves the document between
 * the press and the release of a button gets no click.
 */
export function arrange(el, children) {
  const staying = new Set(children);
  for (const child of [...el.childNodes]) if (!staying.has(child)) child.remove();
  const focused = document.activeElement;
  let place = el.firstChild;
  for (const child of children) {
    if (child === place) place = place.nextSibling;
    else el.insertBefore(child, place);
  }
  if (el.contains(focused)) focused.focus({ preventScroll: true });
}

/** Bindings by template attribute: how to read the value and how to write it. */
const BINDINGS = {
  f: (el, spec) => {
    const [path, format = "str"] = spec.split("|");
    const [name, ...words] = format.split(":");
    const formatter = fmt[name];
    if (el.localName !== "time") return [(item) => formatter(at(item, path), ...(words.length ? words : [item])), (text) => write(el, text)];
    return [
      (item) => at(item, path) ?? "",
      (when) => {
        el.dateTime = when;
        el.title = fmt.exact(when);
        write(el, formatter(when));
      },
    ];
  },
  href: (el, spec) => [(item) => located(spec, item), (url) => { el.href = url; }],
  out: (el, spec) => [(item) => at(item, spec), (url) => { if (/^https?:/.test(url)) el.href = url; }],
  tip: (el, spec) => [(item) => filled(spec, item), (text) => { el.title = text; }],
  label: (el, spec) => [(item) => filled(spec, item), (text) => { el.ariaLabel = text; }],
  s: (el, spec) => [(item) => String(at(item, spec) ?? ""), (word) => { el.dataset.is = word; }],
  icon: (el, spec) => [
    (item) => String(at(item, spec)),
    (name) => el.replaceChildren(svg("use", { href: `#i-${name}` })),
  ],
  if: (el, spec) => [
    (item) => (spec[0] === "!" ? !at(item, spec.slice(1)) : Boolean(at(item, spec))),
    (visible) => { el.hidden = !visible; },
  ],
};

/**
 * Return a function that fills *root* with an item, by its attributes: data-f="path|format" or "path|format:word:…",
 * data-href="/jobs/{id}", data-out="url" (of another site), data-tip and data-label="Select {name}", data-s="state" (which
 * sets data-is), data-icon="state", data-if="path" or "!path". Only what has changed is written.
 */
export function bind(root) {
  const cells = [];
  let waits = true;
  for (const [name, make] of Object.entries(BINDINGS))
    for (const el of $$(`[data-${name}]`, root)) cells.push([...make(el, el.dataset[name]), undefined]);
  return (item) => {
    if (waits) waits = unveil(root);
    for (const cell of cells) {
      const value = cell[0](item);
      if (value !== cell[2]) cell[1]((cell[2] = value));
    }
  };
}

/** Show elements of *root* that waited for their first data (data-wait). */
export function unveil(root) {
  for (const el of [root, ...$$("[data-wait]", root)]) el.removeAttribute?.("data-wait");
  return false;
}

/** Fill *root* once. */
export const fill = (root, item) => bind(root)(item);

/** Return a copy of what is in a <template>, its first element, filled with *item*. */
export function copy(id, item) {
  const el = $(`#${id}`).content.firstElementChild.cloneNode(true);
  if (item) fill(el, item);
  return el;
}

/** Show *items* in *el*, each in a copy of a <template>. */
export const rows = (el, id, items) => el.replaceChildren(...items.map((item) => copy(id, item)));
