/** The pages of all jobs: found by words, host, status and type. */
import { $, $$, at, cap, counted, query, write } from "../core/all.js";
import { read } from "../core/form.js";
import { list } from "../parts/told.js";

const root = $("#results");
list(root, {
  view: (page) => ({
    ...page,
    shown: page.title || page.url,
    said: page.status ? String(page.status) : cap(page.error?.kind ?? "error"),
    is: page.status >= 200 && page.status < 400 ? "" : "failed",
    of: page.job_name || `…${page.job_id.slice(-8)}`,
  }),
  shown: ({ searched, has_more }) => {
    const how = searched.cut_short ? "It was time to answer: go on with Older." : has_more ? "" : "That is all.";
    write($("#looked"), searched.back_to ? `${counted(searched.pages, "page")} looked at, back to ${at(searched.back_to)}. ${how}` : "");
    for (const link of $$("[data-export]")) link.href = `/api/v1/pages/export${query({ format: link.dataset.export, ...read($("form", root)) })}`;
  },
});
