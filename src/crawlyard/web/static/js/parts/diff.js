/** What changed in the text of a page, line by line: the words that differ are marked, what does not is folded. */
import { counted, h } from "../core/all.js";

const SIDES = {
  del: ["−", "removed: ", "del"],
  add: ["+", "added: ", "ins"],
  same: ["", "", "span"],
};
const side = ({ before, after }) => (after == null ? "del" : before == null ? "add" : "same");

/** Draw *found*, a page_diff of the API, into *el*; *apart* has the two texts side by side. */
export function diff(el, found, apart) {
  const gaps = folds(found);
  const hunk = apart ? halves : inline;
  el.classList.toggle("apart", apart);
  el.replaceChildren(...found.hunks.flatMap((lines, n) => [fold(gaps[n]), ...hunk(lines)]), fold(gaps.at(-1)));
}

/** How many lines are the same above each hunk, and below the last. */
function folds({ hunks, lines }) {
  let seen = 0;
  const gaps = hunks.map((hunk) => {
    const first = hunk.find(({ after }) => after != null)?.after ?? seen + 1;
    const above = first - 1 - seen;
    seen = hunk.findLast(({ after }) => after != null)?.after ?? seen;
    return above;
  });
  return [...gaps, lines - seen];
}
const fold = (n) => (n > 0 ? h("div.fold", {}, `… ${counted(n, "line")} without a change`) : "");

/** The text of a line; every second piece differs from the line in its place. */
function text(line, is) {
  const [, said, mark] = SIDES[is];
  return h("span", {}, said && h("span.vh", {}, said), line.parts.map((part, n) => (n % 2 ? h(mark, {}, part) : part)));
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
    const [gone, come] = [run("del"), run("add")];
    for (let i = 0; i < Math.max(gone.length, come.length); i++) drawn.push(h("div", {}, half(gone[i], "del", "before"), half(come[i], "add", "after")));
  }
  return drawn;
}
const half = (line, is, of) => (line ? h(`span.half.${is}`, {}, number(line[of]), text(line, is)) : h("span.half"));
