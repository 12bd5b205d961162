/** Drawings in SVG: a line, bars, a strip. Each says in a sentence what it shows. */
import { h, svg } from "../core/all.js";

function frame(width, height, said, kind, ...inside) {
  return svg("svg", { class: `chart ${kind}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": said }, ...inside);
}

/** A line over *values*, the last at the right; a single one is level. */
export function line(values, said) {
  if (values.length < 2) values = [values[0] ?? 0, values[0] ?? 0];
  const top = Math.max(...values, 1e-9);
  const right = values.length - 1;
  const points = values.map((v, i) => `${((i / right) * 100).toFixed(2)} ${(38 - (v / top) * 34).toFixed(2)}`);
  const d = `M${points.join("L")}`;
  return frame(100, 40, said, "line", svg("path", { class: "a", d: `${d}L100 40L0 40Z` }), svg("path", { class: "l", d }));
}

/**
 * Bars, stacked: *bars* are {parts: [["ok", 3], ["bad", 1]], tip, href}; each part's word is
 * its colour. At least as high as *least* units, so that a single one does not look like many.
 */
export function bars(bars_, said, least = 4, say = String) {
  const sums = bars_.map(({ parts }) => parts.reduce((sum, [, n]) => sum + n, 0));
  const top = Math.max(...sums, least);
  const width = 100 / Math.max(1, bars_.length);
  const drawn = bars_.map(({ parts, tip }, i) => {
    let y = 100;
    const rects = parts.map(([word, n]) => {
      const height = (n / top) * 100;
      y -= height;
      return svg("rect", { class: `c-${word}`, x: i * width + width * 0.1, y, width: width * 0.8, height });
    });
    return svg("g", {}, svg("title", {}, tip), svg("rect", { class: "hit", x: i * width, y: 0, width, height: 100 }), ...rects);
  });
  const scale = h("span.scale", {}, say(top));
  return h("div.bars", {}, scale, frame(100, 100, said, "stack", ...drawn));
}

/** The last outcomes of a schedule, the newest at the right: [{is: "ok", tip, href}]. */
export function strip(ticks, said, most = 60) {
  const cells = ticks.slice(-most);
  const drawn = cells.map(({ is, tip }, i) =>
    svg("rect", { class: `c-${is}`, x: (most - cells.length + i) * 4, y: is === "none" ? 12 : 2, width: 3, height: is === "none" ? 2 : 12 }, svg("title", {}, tip)));
  return frame(most * 4, 16, said, "strip", ...drawn);
}
