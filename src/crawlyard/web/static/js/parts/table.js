/** A list of the API as a table: pages by cursor, rows patched in place, chosen by mouse or key. */
import { $, arrange, bind, complain, copy, get, int, keys, lock, write } from "../core/all.js";

const tables = [];
/** Keys act on the first visible table. */
const visibleTable = () => tables.find(({ root }) => root.checkVisibility());

/**
 * In *root*: a <table> with an empty <tbody>, a .none for when there is nothing, and .newer,
 * .older, .fresh buttons where it has pages. *row* is the id of the <template> of a row. *group*
 * says of an item which group it is of: {key, title, …} fill a heading, a copy of #group-row.
 */
export class Table {
  rows = new Map(); // by id: {tr, item, seen (as the row shows it), update}
  chosen = new Set();
  #back = []; // cursors of the pages before this one
  #cursor = null;
  #next = null;
  #anchor = null;
  #unseen = new Set();
  #asked = 0;
  #heads = new Map(); // of groups, by key: {tr, update}

  constructor({ root, row, path, id = "id", view = (item) => item, dress, chose, shown, group, moved }) {
    Object.assign(this, { root, row, path, id, view, dress, chose, shown, group, moved });
    this.body = $("tbody", root);
    this.body.addEventListener("change", (event) => this.#tick(event.target));
    this.body.addEventListener("click", ({ target, shiftKey }) => {
      if (target.matches("[type=checkbox]")) this.shift = shiftKey;
    });
    this.#button("newer", () => this.#turn(this.#back.at(-1), this.#back.slice(0, -1)));
    this.#button("older", () => this.#turn(this.#next, [...this.#back, this.#cursor]));
    this.#button("fresh", () => this.reload());
    const all = $(".all", root);
    if (all) all.onchange = () => this.chooseAll(all.checked);
    tables.push(this);
    keys({
      j: () => visibleTable()?.#move(1),
      k: () => visibleTable()?.#move(-1),
      x: ({ shiftKey }) => visibleTable()?.#toggle(shiftKey),
      X: () => visibleTable()?.#toggle(true),
    });
  }

  #button(name, work) {
    const el = $(`.${name}`, this.root);
    if (el) el.onclick = work;
  }

  /** Show the first page of what *path* gives (anew, if it is another). */
  async show(path = this.path) {
    this.path = path;
    this.#back = [];
    this.#cursor = null;
    await this.#fetch();
  }

  /** Read this page again, and keep what is chosen. */
  async reload() {
    await this.#fetch();
  }

  async #turn(cursor, back) {
    const was = [this.#cursor, this.#back];
    if (cursor === was[0]) return; // it is on its way
    [this.#cursor, this.#back] = [cursor, back];
    try {
      await this.#fetch();
      this.choose([]);
      this.root.scrollIntoView({ block: "nearest" });
    } catch (error) {
      [this.#cursor, this.#back] = was;
      complain(error);
    }
  }

  async #fetch() {
    const [path, cursor, turn] = [this.path, this.#cursor, ++this.#asked];
    const url = cursor ? `${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}` : path;
    const list = await get(url);
    if (turn !== this.#asked) return; // it was asked for again since then
    this.#next = list.next_cursor;
    this.items(list.items);
    this.#unseen.clear();
    this.#pager();
    this.shown?.(list);
  }

  /** Show *items*: rows that were there stay, with their focus. */
  items(items) {
    const old = this.rows;
    this.rows = new Map();
    for (const item of items) {
      const id = String(item[this.id]); // as data-id has it
      const row = old.get(id) ?? this.#make(id);
      this.rows.set(id, row);
      this.#update(row, item);
    }
    this.#lay();
    const none = $(".none", this.root);
    if (none) none.hidden = items.length > 0;
    for (const id of this.chosen) if (!this.rows.has(id)) this.chosen.delete(id);
    this.#reportChosen();
  }

  /** Put the rows in place, each group below its heading. */
  #lay() {
    const body = [];
    let last;
    for (const { tr, item } of this.rows.values()) {
      const of = this.group?.(item);
      if (of && of.key !== last) body.push(this.#head(of));
      last = of?.key;
      body.push(tr);
    }
    arrange(this.body, body);
  }

  #head(of) {
    const tr = this.#heads.get(of.key)?.tr ?? copy("group-row");
    if (!this.#heads.has(of.key)) this.#heads.set(of.key, { tr, update: bind(tr) });
    this.#heads.get(of.key).update(of);
    return tr;
  }

  /** Write the headings again. */
  head() {
    for (const { item } of this.rows.values()) if (this.group) this.#head(this.group(item));
  }

  /** Show all rows again, where they tell of what time it is. */
  refresh() {
    for (const row of this.rows.values()) this.#update(row, row.item);
  }

  /** Put each row into its group, the groups by *rank*, unless somebody is about to click there. */
  regroup(rank) {
    if (this.root.matches(":hover, :focus-within")) return;
    const rows = [...this.rows].map(([id, row]) => [rank(row.item), id, row]);
    this.rows = new Map(rows.sort(([a], [b]) => a - b).map(([, id, row]) => [id, row]));
    this.#lay();
  }

  #make(id) {
    const tr = copy(this.row);
    tr.dataset.id = id;
    lock(tr);
    return { tr, update: bind(tr), item: {}, seen: {} };
  }

  #update(row, item) {
    row.item = item;
    const view = this.view(item);
    row.seen = view;
    const focused = row.tr.contains(document.activeElement) && document.activeElement;
    row.update(view);
    this.dress?.(row.tr, view, row);
    if (focused?.hidden) $("a", row.tr)?.focus();
  }

  /** Merge *news* into the row of that id, unless it knows better (by the version, v). */
  patch(id, news) {
    const row = this.rows.get(id);
    if (!row || (news.v ?? 0) < (row.item.v ?? 0)) return false;
    this.#update(row, { ...row.item, ...news });
    return true;
  }

  /** Offer a new item with a button instead of inserting it. */
  offer(id) {
    if (!this.rows.has(id)) this.#unseen.add(id);
    this.#pager();
  }

  drop(id) {
    this.rows.get(id)?.tr.remove();
    this.rows.delete(id);
    if (this.chosen.delete(id)) this.#reportChosen();
  }

  #pager() {
    const set = (name, visible) => {
      const el = $(`.${name}`, this.root);
      if (el) el.hidden = !visible;
      return el;
    };
    set("newer", this.#cursor !== null);
    set("older", this.#next !== null);
    const fresh = set("fresh", this.#unseen.size > 0 && this.#cursor === null);
    if (fresh) write(fresh, `${int(this.#unseen.size)} new, show`);
  }

  // --- choosing

  #tick(box) {
    if (!box.matches("[type=checkbox]")) return;
    const id = box.closest("tr").dataset.id;
    const ids = [...this.rows.keys()];
    const [from, to] = [ids.indexOf(this.#anchor), ids.indexOf(id)].sort((a, b) => a - b);
    const range = this.shift && from >= 0 ? ids.slice(from, to + 1) : [id];
    for (const id of range) this.chosen[box.checked ? "add" : "delete"](id);
    this.#anchor = id;
    this.#reportChosen();
  }

  choose(ids) {
    this.chosen = new Set(ids);
    this.#reportChosen();
  }

  chooseAll(on) {
    this.choose(on ? this.rows.keys() : []);
  }

  #reportChosen() {
    for (const [id, { tr }] of this.rows) {
      const on = this.chosen.has(id);
      tr.ariaSelected = on;
      const box = $("[type=checkbox]", tr);
      if (box) box.checked = on;
    }
    const all = $(".all", this.root);
    if (all) {
      all.checked = this.chosen.size > 0 && this.chosen.size === this.rows.size;
      all.indeterminate = this.chosen.size > 0 && !all.checked;
    }
    this.chose?.(this.chosen);
  }

  // --- by key

  /** The row that j and k have come to. */
  get current() {
    return this.rows.get($("tr.cur", this.body)?.dataset.id);
  }

  #move(by) {
    const rows = [...this.rows.values()];
    const was = rows.indexOf(this.current);
    this.go(rows[Math.max(0, Math.min(rows.length - 1, was + by))]);
  }

  /** Come to a row (else the first), and return it. */
  go(row = this.rows.values().next().value) {
    if (!row) return undefined;
    $("tr.cur", this.body)?.classList.remove("cur");
    row.tr.classList.add("cur");
    $("a", row.tr)?.focus({ preventScroll: true });
    row.tr.scrollIntoView({ block: "nearest" });
    this.moved?.(row);
    return row;
  }

  #toggle(range) {
    const box = this.current && $("[type=checkbox]", this.current.tr);
    if (!box) return;
    this.shift = range;
    box.checked = !box.checked;
    this.#tick(box);
  }
}

