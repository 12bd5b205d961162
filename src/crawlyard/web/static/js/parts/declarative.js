/**
 * Declarative pages. The HTML of a list, a button or a form names the endpoint that is
 * used; "{name}" is a field of the row, of the page's thing, or of the page's address:
 *
 *   <section data-list="/tokens?limit=50" data-row="token" data-live="token.*"> a Table;
 *     data-every="3000" reads it again, in ms, where changes have no events
 *   <form data-find>                         in a list: its fields are the query, kept in the URL
 *   <section data-of="/templates/{template}">  the page's thing, by data-f and so on
 *   <button data-do="DELETE /tokens/{id}">   a row's or the page's; perhaps with
 *     data-body='{"enabled": true}' data-said="Revoked {name}" data-next="/templates/{id}"
 *     data-ask="Revoke {name}?" data-text="…" data-verb="Revoke" data-fields="id of a template"
 *     data-undo="POST /jobs/{id}/resume" takes it back
 *   <form data-send="POST /tokens">          with data-said and data-next; data-shows="/hooks/{token}" is
 *     shown of this server in place of the new secret
 */
import { $, $$, act, api, ask, bind, clip, complain, copy, filled, get, h, later, load, located, on, query, soon, toast } from "../core/all.js";
import { read, submits, write } from "../core/form.js";
import { Table } from "./table.js";

const address = { ...Object.fromEntries(new URLSearchParams(location.search)), ...document.body.dataset };
export const tables = [];
export const thing = {}; // the page's own

/** The row's object or the page's, with the parameters of the URL. */
function about(el) {
  const tr = el.closest("tr[data-id], li[data-id]");
  const table = tr && tables.find(({ root }) => root.contains(tr));
  return { ...address, ...(table ? table.view(table.rows.get(tr.dataset.id).item) : thing) };
}

/** Make the list in *root*; *more* is for its `Table`. */
export function list(root, more = {}) {
  const { list: path, row, live, every, key = "id" } = root.dataset;
  const table = new Table({ root, row, id: key, ...more });
  const form = $("form[data-find]", root);
  const base = located(path, address);
  const listUrl = () => (form ? base + query({ limit: 50, ...read(form) }).replace("?", base.includes("?") ? "&" : "?") : base);
  if (form) {
    write(form, address);
    form.onsubmit = (event) => event.preventDefault();
    form.oninput = later(250, () => {
      history.replaceState(null, "", location.pathname + query(read(form)));
      table.show(listUrl()).catch(complain);
    });
  }
  tables.push(table);
  load(() => table.show(listUrl()));
  const again = () => table.reload().catch(complain);
  if (live) on(live, soon(400, again));
  if (every) setInterval(() => document.hidden || again(), every);
  return table;
}

/** Show the page's thing in *root* through *view*, also when it changes; then call *changed(thing)*. */
export function show(root, changed, view = (item) => item) {
  const paint = bind(root);
  const again = async () => {
    try {
      Object.assign(thing, await get(located(root.dataset.of, address)));
    } catch (error) {
      if (error.status !== 404) throw error;
      return root.replaceWith(copy("missing"));
    }
    paint(view(thing));
    root.inert = false; // its buttons were inert until now
    await changed?.(thing);
  };
  load(again);
  if (root.dataset.live) on(root.dataset.live, soon(400, () => again().catch(complain)));
  return again;
}

/** Return the state of an issued credential: on, expired or revoked. */
export function issued({ revoked_at, expires_at }) {
  const is = revoked_at ? "revoked" : expires_at && Date.parse(expires_at) < Date.now() ? "expired" : "on";
  return { is, gone: is !== "on" };
}

/** Send the request in *dataset* for *item*, and show its result. Resolves to the response. */
async function send({ do: verb, said, next, undo, shows }, item, body) {
  const [method, pattern] = verb.split(" ");
  const answer = await api(method, located(pattern, item), method === "DELETE" ? undefined : body, item.version);
  const back = undo && (() => send({ do: undo }, { ...item, ...answer }, {}));
  if (said) toast(filled(said, { ...item, ...answer }), { undo: back });
  const secret = answer?.share_url ?? answer?.secret ?? answer?.token;
  if (secret) await once(shows ? location.origin + filled(shows, answer) : secret);
  if (next) location.assign(located(next, { ...item, ...answer }));
  for (const table of tables) table.reload().catch(complain);
  return answer;
}

/** Show a secret that no one can read again. */
async function once(secret) {
  const fields = h("pre", {}, secret);
  const yes = await ask({ title: "Copy it now. You won’t see it again.", verb: "Copy", fields });
  if (yes) await clip(secret, "Secret");
}

addEventListener("click", async ({ target }) => {
  const button = target.closest("button[data-do]");
  if (!button) return;
  const { ask: title, text, verb, fields, body = "{}" } = button.dataset;
  const item = about(button);
  const answers = title ? await ask({ title: filled(title, item), text: text && filled(text, item), verb, bad: button.classList.contains("bad"), fields }) : {};
  if (answers) await act(button, () => send(button.dataset, item, { ...JSON.parse(filled(body, item)), ...answers }));
});

for (const form of $$("form[data-send]"))
  submits(form, async () => {
    const { send: method, ...rest } = form.dataset;
    await send({ ...rest, do: method }, about(form), read(form));
    form.reset();
  });

for (const el of $$("[data-list]:not([data-own])")) list(el);
for (const el of $$("[data-of]:not([data-own])")) show(el);
