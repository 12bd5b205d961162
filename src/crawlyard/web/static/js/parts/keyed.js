/** Lists that are shown anew: what stays is the same element, with its focus and what it holds. */
import { arrange, bind, copy, lock } from "../core/all.js";

/**
 * Return what shows items in *el*, each in a copy of the <template> *row*, the same one for the same *id(item)*.
 * *dress(li, item)* does what attributes cannot; *begun(li, get)* is called once, get() being the item as it is by then.
 */
export function keyed(el, row, id, { dress, begun } = {}) {
  let rows = new Map();
  return (items) => {
    const old = rows;
    rows = new Map();
    for (const item of items) {
      let entry = old.get(id(item));
      if (!entry) {
        const li = copy(row);
        entry = { li, update: bind(li) };
        lock(li);
        begun?.(li, () => entry.item);
      }
      entry.item = item;
      entry.update(item);
      dress?.(entry.li, item);
      rows.set(id(item), entry);
    }
    arrange(el, [...rows.values()].map(({ li }) => li));
  };
}
