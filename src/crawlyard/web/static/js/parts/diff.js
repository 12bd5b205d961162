/** What changed in the text of a page, line by line: the words that differ are marked, what does not is folded. */
import { counted, h } from "../core/all.js";

const SIDES = {
  del: ["−", "removed: ", "del"],
  add: ["+", "added: ", "ins"],
  same: ["", "", "span"],
};
const side = ({ before, after }) => (after == null ? "del" : before == null ? "add" : "same");

/** Draw *found*, a page_diff of the API, into *el*; *apart* has the two texts side by side. */
export function diff(el, change, apart) {
  const gaps = folds(change);
  const hunk = apart ? halves : inline;
  el.classList.toggle("apart", apart);
  el.replaceChildren(...change.hunks.flatMap((lines, n) => [fold(gaps[n]), ...hunk(lines)]), fold(gaps.at(-1)));
}

/** How many lines are the same above each hunk, and below the last. */
function folds({ hunks, lines }) {
  let shownLines = 0;
  const gaps = hunks.map((hunk) => {
    const first = hunk.find(({ after }) => after != null)?.after ?? shownLines + 1;
    const above = first - 1 - shownLines;
    shownLines = hunk.findLast(({ after }) => after != null)?.after ?? shownLines;
    return above;
  });
  return [...gaps, lines - shownLines];
}
const fold = (n) => (n > 0 ? h("div.fold", {}, `… ${counted(n, "line")} without a change`) : "");

/** The text of a line; every second piece differs from the line in its place. */
function text(line, is) {
  const [, label, mark] = SIDES[is];
  return h("span", {}, label && h("span.vh", {}, label), line.parts.map((part, n) => (n % 2 ? h(mark, {}, part) : part)));
}
const number = (n) => h("span.no", {}, n == null ? "" : String(n));

function inline(lines) {
  return lines.map((line) => {
    const is = side(line);
    return h(`div.${is}`, {}, number(line.before), number(line.after), h("span.sign", { "aria-hidden": "true" }, SIDES[is][0]), text(line, is));
  });
}

/** What was removed stands beside what came in its place. */
function halves(lines) {
  const drawn = [];
  for (let n = 0; n < lines.length; ) {
    if (side(lines[n]) === "same") {
      drawn.push(h("div", {}, half(lines[n], "same", "before"), half(lines[n], "same", "after")));
      n++;
      continue;
    }
    const run = (is) => {
      const from = n;
      while (n < lines.length && side(lines[n]) === is) n++;
      return lines.slice(from, n);
    };
    const [removed, come] = [run("del"), run("add")];
    for (let i = 0; i < Math.max(removed.length, come.length); i++) drawn.push(h("div", {}, half(removed[i], "del", "before"), half(come[i], "add", "after")));
  }
  return drawn;
}
const half = (line, is, of) => (line ? h(`span.half.${is}`, {}, number(line[of]), text(line, is)) : h("span.half"));
