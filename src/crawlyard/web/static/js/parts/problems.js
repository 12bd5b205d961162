/** Failures of URLs in groups by what to do about them. */
import { errorWord } from "../core/all.js";

const is = (...kinds) => ({ kind }) => kinds.includes(kind);
const answered = (...statuses) => ({ kind, status }) => kind === "http_4xx" && statuses.includes(status);

/** The first that fits a kind of failures, with its status. */
const GROUPS = [
  { title: "Not found", fits: answered(404, 410), todo: "Fix the links that lead there, or exclude these URLs.", acts: ["exclude", "retry"] },
  { title: "Refused", fits: answered(401, 403, 407, 451), todo: "The site refuses these requests: crawl more slowly, or send the headers that it requires.", acts: ["pace", "retry", "exclude"] },
  { title: "Too many requests", fits: is("rate_limited"), todo: "Crawl this host more slowly, then retry.", acts: ["pace", "retry"] },
  { title: "Server errors", fits: is("http_5xx"), todo: "Often temporary: retry.", acts: ["retry", "exclude"] },
  { title: "Timed out", fits: is("timeout"), todo: "Often temporary: retry.", acts: ["retry", "exclude"] },
  { title: "Host not reached", fits: is("dns", "connect", "tls", "protocol"), todo: "Check the address, or retry once the host is back.", acts: ["retry", "exclude"] },
  { title: "No proxy could connect", fits: is("proxy"), todo: "Check the proxies of the job, then retry.", acts: ["retry"] },
  { title: "robots.txt not readable", fits: is("robots"), todo: "Without it, no page of the host is fetched: retry once the host responds.", acts: ["retry"] },
  { title: "Address not allowed", fits: is("blocked_address"), todo: "Private addresses and blocked hosts are refused: an admin can allow them.", acts: ["exclude"] },
  { title: "Redirects that lead nowhere", fits: is("bad_redirect"), todo: "Fix the redirects, or exclude these URLs.", acts: ["exclude"] },
  { title: "Content not readable", fits: is("unreadable"), todo: "These files were fetched, but their text could not be read: they are damaged or encrypted.", acts: ["retry", "exclude"] },
  { title: "Other problems", fits: () => true, todo: "Open a URL to see its error.", acts: ["retry", "exclude"] },
];

/** Return *items*, as GET /jobs/{job}/errors tells statuses apart, by what to do; *linked*: the pages that link to a URL. */
export function grouped(items, linked) {
  const groups = new Map();
  for (const item of items) {
    const group = GROUPS.find(({ fits }) => fits(item));
    groups.set(group, [...(groups.get(group) ?? []), item]);
  }
  const sum = (some) => some.reduce((all, { count }) => all + count, 0);
  return [...groups]
    .map(([{ title, todo, acts }, some]) => ({
      key: title,
      title: `${title}${words(some)}`,
      todo,
      acts,
      count: sum(some),
      kinds: [...new Set(some.map(({ kind }) => kind))],
      samples: some.flatMap(({ samples }) => samples.map((url) => [url, linked[url] ?? []])),
    }))
    .sort((a, b) => b.count - a.count);
}

function words(some) {
  const causes = [...new Set(some.map(({ kind, status }) => status ?? (some.length > 1 ? errorWord(kind).toLowerCase() : null)))].filter(Boolean);
  return causes.length ? ` (${causes.join(", ")})` : "";
}
