/**
 * Markdown as a crawl keeps it (CommonMark with tables, emphasis by asterisks), made into elements to be read.
 * All that is not Markdown is text, markup too. A link leads where *link* says, and nowhere if that is null.
 */
import { h } from "../core/all.js";

const DEEPEST = 12; // lists and quotes in each other
const MOST_MARKS = 2000; // brackets or asterisks of one paragraph; with more, it stays text
const TAGS = new Set(["sup", "sub", "em", "strong"]); // where asterisks cannot say it

/** Return *text* as a fragment; *link(url)* returns the attributes of a link. */
export function markdown(text, link) {
  return blocks(text.replace(/\t/g, "    ").split(/\r?\n/), { link }, 0);
}

// --- blocks

const indent = (line) => line.length - line.trimStart().length;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( {1,4}(?=\S)| |$)/;
const HEADING = /^ {0,3}(#{1,6})(?: |$)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ROW = /^ {0,3}\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$|^ {0,3}\| *:?-+:? *$/;

const isRule = (line) => line.length < 200 && RULE.test(line);
const isTable = (lines, i) => lines[i].includes("|") && lines[i + 1]?.length < 5000 && ROW.test(lines[i + 1]);
const begins = (lines, i) => FENCE.test(lines[i]) || HEADING.test(lines[i]) || QUOTE.test(lines[i]) || isRule(lines[i]) || ITEM.test(lines[i]) || isTable(lines, i);

function blocks(lines, how, depth) {
  const into = document.createDocumentFragment();
  for (let i = 0; i < lines.length; ) {
    const [, read] = KINDS.find(([fits]) => fits(lines, i, depth));
    const [end, el] = read(lines, i, how, depth);
    if (el) into.append(el);
    i = end;
  }
  return into;
}

const KINDS = [
  [(lines, i) => !lines[i].trim(), (_, i) => [i + 1]],
  [(lines, i) => FENCE.test(lines[i]), fenced],
  [(lines, i) => indent(lines[i]) >= 4, indented],
  [(lines, i) => HEADING.test(lines[i]), heading],
  [(lines, i) => isRule(lines[i]), (_, i) => [i + 1, h("hr")]],
  [(lines, i, depth) => depth < DEEPEST && QUOTE.test(lines[i]), quote],
  [(lines, i, depth) => depth < DEEPEST && ITEM.test(lines[i]), list],
  [isTable, table],
  [() => true, paragraph],
];

function pre(lines, language) {
  const code = h("pre", { tabindex: 0 }, h("code", {}, lines.join("\n")));
  return language ? h("figure.code", {}, h("figcaption", {}, language), code) : code;
}

function fenced(lines, i) {
  const [, mark, said] = FENCE.exec(lines[i]);
  const left = indent(lines[i]);
  let end = i + 1;
  const closes = (line) => line.trim().length >= mark.length && line.trim() === mark[0].repeat(line.trim().length);
  while (end < lines.length && !closes(lines[end])) end++;
  const inside = lines.slice(i + 1, end).map((line) => line.slice(Math.min(left, indent(line))));
  return [end + 1, pre(inside, said.trim().split(" ")[0].slice(0, 40))];
}

function indented(lines, i) {
  let end = i;
  while (end < lines.length && (indent(lines[end]) >= 4 || !lines[end].trim())) end++;
  while (!lines[end - 1].trim()) end--;
  return [end, pre(lines.slice(i, end).map((line) => line.slice(4)))];
}

function heading(lines, i, how) {
  const [whole, { length }] = HEADING.exec(lines[i]);
  const said = lines[i].slice(whole.length).trim().replace(/ #{1,20}$/, "");
  return [i + 1, h(`h${Math.min(6, length + 1)}`, {}, inline(said, how))];
}

function quote(lines, i, how, depth) {
  let end = i;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  return [end, h("blockquote", {}, blocks(lines.slice(i, end).map((line) => line.replace(QUOTE, "")), how, depth + 1))];
}

function list(lines, i, how, depth) {
  const kind = (line) => { const found = ITEM.exec(line); return found && found[2].at(-1); };
  const mark = kind(lines[i]);
  const first = ITEM.exec(lines[i])[2];
  const items = [];
  let loose = false;
  let end = i;
  while (end < lines.length && kind(lines[end]) === mark && !isRule(lines[end])) {
    const { length } = ITEM.exec(lines[end])[0];
    const own = [lines[end].slice(length)];
    const width = own[0] ? length : length + 1;
    for (end++; end < lines.length; end++) {
      const line = lines[end];
      if (!line.trim()) own.push("");
      else if (indent(line) >= width) own.push(line.slice(width));
      else if (own.at(-1) && !begins(lines, end)) own.push(line); // a paragraph goes on
      else break;
    }
    const more = own.length;
    while (own.length && !own.at(-1)) own.pop();
    loose ||= own.includes("") || (more > own.length && end < lines.length && kind(lines[end]) === mark);
    items.push(blocks(own, how, depth + 1));
  }
  const start = parseInt(first, 10);
  const el = h(/\d/.test(first) ? "ol" : "ul", { start: start > 1 ? start : null }, items.map((item) => h("li", {}, item)));
  if (!loose) for (const p of [...el.children].flatMap((li) => [...li.children])) if (p.localName === "p") p.replaceWith(...p.childNodes);
  return [end, el];
}

function cells(line) {
  const found = [""];
  for (const part of line.trim().replace(/^\|/, "").match(/\\.|[^\\|]+|[|\\]/g) ?? []) {
    if (part === "|") found.push("");
    else found[found.length - 1] += part === "\\|" ? "|" : part;
  }
  if (!found.at(-1).trim()) found.pop();
  return found.map((cell) => cell.trim());
}

function table(lines, i, how) {
  const heads = cells(lines[i]);
  const right = cells(lines[i + 1]).map((cell) => cell.endsWith(":"));
  let end = i + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const row = (tag, line) => h("tr", {}, heads.map((_, n) => h(right[n] ? `${tag}.num` : tag, tag === "th" ? { scope: "col" } : {}, inline(line[n] ?? "", how))));
  const body = lines.slice(i + 2, end).map((line) => row("td", cells(line)));
  return [end, h("div.scroll", { tabindex: 0, role: "group", "aria-label": "Table" }, h("table", {}, h("thead", {}, row("th", heads)), h("tbody", {}, body)))];
}

function paragraph(lines, i, how) {
  let end = i + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines, end)) end++;
  const said = lines.slice(i, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return [end, h("p", {}, inline(said, how))];
}

// --- what is in a line

const PIECE = /\\[\s\S]|`+|!?\[|\]|\*+|&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|amp|lt|gt|quot|apos|nbsp);|<(?:https?:\/\/[^\s<>]{1,8000}|\/?(?:sup|sub|em|strong)|br ?\/?)>| {0,20}\n| +|[^\\`![\]*&< \n]+|[\s\S]/y;
const ESCAPED = /\\([!-/:-@[-`{-~])/g;
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const DESTINATION = /^\((?:<([^<>\n]{0,8192})>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.){0,2000}\)){0,8192}))(?:\s{1,20}(?:"(?:[^"\\]|\\.){0,2000}"|'(?:[^'\\]|\\.){0,2000}'))?\s{0,20}\)/;
const BLANK = /\s/;
const SIGN = /[\p{P}\p{S}]/u;

function inline(text, how) {
  const into = document.createDocumentFragment();
  if ((text.match(/[[*]/g)?.length ?? 0) > MOST_MARKS) into.append(text);
  else new Line(text, how, into).read();
  into.normalize();
  return into;
}

class Line {
  said = ""; // text that is not added yet: a node for each piece of it would be slow
  brackets = [];
  tags = [];
  stars = []; // runs of asterisks
  unclosed = new Set(); // lengths of runs of backticks that nothing ends

  constructor(text, { link }, into) {
    Object.assign(this, { text, link, into, place: 0 });
  }

  /** Add an element, or a text that may be taken away again. */
  add(node) {
    this.into.append(this.said, node);
    this.said = "";
    return this.into.lastChild;
  }

  say(text) {
    this.said += text;
  }

  read() {
    while (this.place < this.text.length) {
      PIECE.lastIndex = this.place;
      const [piece] = PIECE.exec(this.text);
      const before = this.text[this.place - 1] ?? " ";
      this.place += piece.length;
      if (piece === "[" || piece === "![") this.brackets.push({ node: this.add(piece), image: piece.length === 2, stars: this.stars.length });
      else if (piece === "]") this.close();
      else if (piece[0] === "\\") piece === "\\\n" ? this.add(h("br")) : this.say(piece.replace(ESCAPED, "$1"));
      else if (piece[0] === "`") this.code(piece);
      else if (piece[0] === "*") this.star(piece, before);
      else if (piece[0] === "&" && piece.length > 1) this.say(entity(piece));
      else if (piece[0] === "<" && piece.length > 1) this.tag(piece, piece.slice(1, -1));
      else if (piece.endsWith("\n")) piece.length > 2 ? this.add(h("br")) : this.say("\n");
      else this.say(piece);
    }
    this.add("");
    stress(this.stars);
  }

  code(ticks) {
    const end = /`+/g;
    end.lastIndex = this.place;
    for (let found; !this.unclosed.has(ticks.length) && (found = end.exec(this.text)); ) {
      if (found[0].length !== ticks.length) continue;
      const said = this.text.slice(this.place, found.index).replaceAll("\n", " ");
      this.add(h("code", {}, said.length > 2 && said.startsWith(" ") && said.endsWith(" ") ? said.slice(1, -1) : said));
      this.place = end.lastIndex;
      return;
    }
    this.unclosed.add(ticks.length);
    this.say(ticks);
  }

  /** Make what stands since the last bracket a link, if a destination follows that leads somewhere. */
  close() {
    const open = this.brackets.pop();
    const found = open && !open.off && DESTINATION.exec(this.text.slice(this.place, this.place + 12_000));
    const to = found && this.link((found[1] ?? found[2]).replace(ESCAPED, "$1"), open.image);
    if (!to) return this.say("]");
    this.add("");
    this.place += found[0].length;
    stress(this.stars.splice(open.stars));
    const el = h("a", to);
    wrap(el, open.node, null);
    open.node.remove();
    for (const inner of el.querySelectorAll("a")) inner.replaceWith(...inner.childNodes); // of a picture
    if (open.image) el.prepend(el.textContent ? "Image: " : "Image");
    else for (const one of this.brackets) one.off = !one.image; // no link is in a link
  }

  star(piece, before) {
    const after = this.text[this.place] ?? " ";
    const opens = !BLANK.test(after) && (!SIGN.test(after) || BLANK.test(before) || SIGN.test(before));
    const closes = !BLANK.test(before) && (!SIGN.test(before) || BLANK.test(after) || SIGN.test(after));
    this.stars.push({ node: this.add(piece), size: piece.length, left: piece.length, opens, closes });
  }

  tag(piece, name) {
    const to = name.startsWith("http") && this.link(name, false);
    const open = name[0] === "/" && this.tags.at(-1);
    if (to) this.add(h("a", to, name));
    else if (name.startsWith("br")) this.add(h("br"));
    else if (TAGS.has(name)) this.tags.push({ name, node: this.add(piece) });
    else if (open && open.name === name.slice(1) && open.node.parentNode === this.into) {
      this.tags.pop();
      this.add("");
      wrap(h(open.name), open.node, null);
      open.node.remove();
    } else this.say(piece);
  }
}

function entity(said) {
  if (said[1] !== "#") return NAMED[said.slice(1, -1)];
  const code = /x/i.test(said[2]) ? parseInt(said.slice(3), 16) : parseInt(said.slice(2), 10);
  return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
}

/** Move what stands between two siblings (null: to the end) into *el*, and that behind the first. */
function wrap(el, first, last) {
  while (first.nextSibling && first.nextSibling !== last) el.append(first.nextSibling);
  first.after(el);
}

/** Turn pairs of asterisks into emphasis. Source: CommonMark 0.31, appendix «process emphasis». */
function stress(stars) {
  const open = [];
  for (const close of stars) {
    while (close.closes && close.left) {
      const fits = (one) => one.node.parentNode === close.node.parentNode && ((!one.closes && !close.opens) || (one.size + close.size) % 3 || (one.size % 3 === 0 && close.size % 3 === 0));
      const at = open.findLastIndex(fits);
      if (at < 0) break;
      const one = open[at];
      open.length = at + 1;
      const count = Math.min(2, one.left, close.left);
      wrap(h(count === 2 ? "strong" : "em"), one.node, close.node);
      for (const side of [one, close]) {
        side.left -= count;
        side.node.data = "*".repeat(side.left);
      }
      if (!one.left) open.pop();
    }
    if (close.opens && close.left) open.push(close);
  }
}
