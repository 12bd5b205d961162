/** Links for crawled URLs: to their page in the dashboard, or to the site. */
import { segment } from "../core/all.js";

/** The attributes of a link to the page *id* of a job, or, without one, to *url* itself; null: it leads nowhere. */
export function lead(job, url, id) {
  if (id) return { href: `/jobs/${segment(job)}/pages/${id}`, title: url };
  return /^https?:/i.test(url) ? { href: url, title: url, target: "_blank", rel: "noopener noreferrer" } : null;
}

export function attribute(el, attributes) {
  for (const [name, value] of Object.entries(attributes ?? {})) el.setAttribute(name, value);
}

/** Text and state of a link's target. */
export function linkStatus({ outcome, status }) {
  if (outcome === "fetched") return { said: String(status), is: "completed" };
  if (outcome === "failed") return { said: status ? `${status} broken` : "failed", is: "failed" };
  return { said: { redirected: "redirects", waiting: "not fetched", skipped: "skipped", never_found: "not in this crawl" }[outcome], is: outcome };
}
