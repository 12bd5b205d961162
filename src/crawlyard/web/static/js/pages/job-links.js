/** Link report of a job: problems with links, titles and canonical URLs, with referrers. */
import { $, act, cap, counted, get, h, int, query, write } from "../core/all.js";
import { lead } from "../parts/links.js";
import { Table } from "../parts/table.js";

const box = $("section[data-tab=links]");
const KINDS = { broken_link: "Broken links", missing_fragment: "Missing fragments", redirect_chain: "Redirect chains", redirect: "Redirects", duplicate_title: "Duplicate titles", canonical: "Contradicting canonicals", orphan_page: "Orphan pages" };
const REASONS = { limit: "beyond a limit, or not reached yet", failed: "without a usable response", robots: "forbidden by robots.txt", other_site: "on other sites", excluded: "excluded", nofollow: "behind rel=nofollow" };
let findings;
let at; // the path of the job
let of; // its id

class Findings extends Table {
  items(items) {
    super.items(items.map((link) => ({ ...link, key: `${link.kind} ${link.url}#${link.fragment}` })));
  }
}

/** Show the findings of a kind that the address asks for, of the job at *path*. */
export async function linkReport(path, job) {
  [at, of] = [path, job.id];
  $(".findings", box).hidden = !job.keep_links;
  if (!job.keep_links) return write($(".said", box), "This crawl did not store links: its setting keep_links is off.");
  findings ??= new Findings({ root: box, row: "finding", id: "key", dress, shown: summary });
  const kind = new URLSearchParams(location.search).get("kind");
  const url = `${path}/check/findings${query({ kind, limit: 50 })}`;
  if (findings.path === url) return; // it takes long, and what is open stays open
  write($(".said", box), "Checking every link of this crawl…");
  await findings.show(url).catch((error) => {
    findings.path = null;
    write($(".said", box), "");
    throw error;
  });
}

function summary({ pages, links, targets, unchecked_by: groups, incomplete_reason: reason, fragments, counts, items }) {
  const kind = new URLSearchParams(location.search).get("kind");
  const checked = `${counted(links, "link")} on ${counted(pages, "page")} lead to ${counted(targets, "URL")}.`;
  const incomplete = reason && `This check is incomplete: ${reason}.`;
  const ids = !fragments && "Fragments were not checked: the setting keep_anchors is off for this crawl.";
  write($(".said", box), [checked, incomplete, ids].filter(Boolean).join(" "));
  const chip = (word, name, count) => h("a.chip", { href: `${at}/links${query({ kind: word })}`, data: { tab: "links" }, "aria-current": (kind ?? "") === word && "true" }, `${name} `, h("b", {}, int(count)));
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  $(".kinds", box).replaceChildren(chip("", "All", all), ...Object.keys(KINDS).filter((word) => counts[word]).map((word) => chip(word, KINDS[word], counts[word])));
  $(".unchecked", box).replaceChildren(...groups.map(unchecked));
  const none = $(".none", box);
  none.hidden = items.length > 0;
  write(none, reason ? "No problems in the checked links." : "No problems with links, titles or canonical URLs.");
}

/** Return how many URLs were not checked for one reason, and the first of them. */
function unchecked({ reason, count, urls }) {
  const more = count > urls.length && h("li", {}, `and ${int(count - urls.length)} more`);
  return h("details", {}, h("summary", {}, `Not checked: ${counted(count, "URL")} ${REASONS[reason] ?? reason}`),
    h("ul.mono", {}, urls.map((url) => h("li", {}, h("a", lead(of, url), url))), more));
}

const words = ({ text }) => text && ` “${text}”`;

/** Fill the row of a finding: what is wrong, and a part that tells on demand all links that lead there. */
function dress(tr, finding) {
  const { kind, url, fragment, chain, pages, links, linked_from: [first], sitemap } = finding;
  const address = fragment ? `${url}#${fragment}` : url;
  const link = h("a.main.mono", lead(of, address), address);
  $(".what", tr).replaceChildren(link,
    ...(chain.length ? [h("ol.chain", { "aria-label": "Redirects to" }, chain.map((to) => h("li.mono", {}, to)))] : []),
    ...(pages.length ? [h("ul.mono", {}, pages.map((page) => h("li", {}, h("a", lead(of, page), page))))] : []),
    ...(sitemap ? [h("p.mut", {}, "Listed in ", h("span.mono", {}, sitemap))] : []),
    ...(links ? [h("details.from", { ontoggle: (event) => more(event.target, finding) },
      h("summary", {}, `Linked from ${first.url}`, words(first), links > 1 && ` and ${counted(links - 1, "more link")}`),
      h("ul", {}), h("button.btn.sm", { type: "button", hidden: true }, "More"))] : []));
  write($(".kind", tr), cap(kind).replace("Canonical", "Canonical URL"));
}

/** List who links to a URL, part by part; opened for the first time, the first. */
function more(details, { url, fragment }) {
  if (!details.open || details.begun) return;
  details.begun = true;
  const [list, button] = [$("ul", details), $("button", details)];
  let cursor;
  const next = async () => {
    const part = await get(`${at}/links${query({ to: url, limit: 50, cursor })}`);
    cursor = part.next_cursor;
    button.hidden = !part.has_more;
    list.append(...part.items.filter((link) => link.fragment === fragment || !fragment).map(({ source, source_id, text, rel }) => {
      const a = h("a.mono", lead(of, source, source_id), source);
        return h("li", {}, a, words({ text }), rel && h("small.mut", {}, ` rel=${rel}`));
    }));
  };
  button.onclick = () => act(button, next);
  button.click();
}
