/** A site as areas: their size is the number of URLs, their colour the worst that happened to them. */
import { h } from "../core/all.js";

const NARROW = 560;
const GAP = 3;

/** Lay *items* ({size}, the largest in front) out in a rectangle, as square as they can be: [[item, x, y, w, h], …]. */
export function squarified(items, width, height) {
  const placed = [];
  let [x, y, w, tall] = [0, 0, width, height];
  let rest = items.filter(({ size }) => size > 0);
  while (rest.length) {
    const scale = (w * tall) / rest.reduce((sum, { size }) => sum + size, 0);
    const side = Math.min(w, tall);
    let [row, best, sum] = [[], Infinity, 0];
    for (const item of rest) {
      const area = (sum + item.size) * scale;
      const worst = Math.max(...[...row, item].map(({ size }) => Math.max(area ** 2 / (side ** 2 * size * scale), (side ** 2 * size * scale) / area ** 2)));
      if (worst > best) break;
      [best, sum] = [worst, sum + item.size];
      row.push(item);
    }
    const deep = (sum * scale) / side;
    let at = 0;
    for (const item of row) {
      const long = (item.size * scale) / deep;
      placed.push(w >= tall ? [item, x, y + at, deep, long] : [item, x + at, y, long, deep]);
      at += long;
    }
    if (w >= tall) [x, w] = [x + deep, w - deep];
    else [y, tall] = [y + deep, tall - deep];
    rest = rest.slice(row.length);
  }
  return placed;
}

/**
 * Draw *items* ({name, said, is, size, href}) into *root*, again whenever its width changes; *rest(items)* is one for those
 * that have no room. It is for the eye and the pointer: what it shows must also stand in a table.
 */
export function treeMap(root, items, rest) {
  root.items = items;
  const draw = () => {
    const width = root.clientWidth;
    if (!width) return; // hidden: drawn when it is shown
    const narrow = width < NARROW;
    const most = narrow ? 9 : 24;
    const height = narrow ? 420 : 320;
    const few = root.items.length > most ? [...root.items.slice(0, most - 1), rest(root.items.slice(most - 1))] : root.items;
    few.sort((a, b) => b.size - a.size);
    root.style.height = `${height}px`;
    root.replaceChildren(...squarified(few, width, height).map(([item, x, y, w, tall]) => {
      const { name, said, is, href, data } = item;
      const el = h(`${href ? "a" : "div"}.cell.c-${is}`, { href, data, tabindex: href && -1, title: `${name}: ${said}` },
        w > 60 && tall > 30 && h("b.clip", {}, name), w > 76 && tall > (w > 120 ? 50 : 66) && h("small", {}, said));
      Object.assign(el.style, { left: `${x}px`, top: `${y}px`, width: `${Math.max(2, w - GAP)}px`, height: `${Math.max(2, tall - GAP)}px` });
      return el;
    }));
    root.drawn = width;
  };
  draw();
  root.watch ??= new ResizeObserver(() => root.clientWidth !== root.drawn && root.redraw());
  root.redraw = draw;
  root.watch.observe(root);
}
