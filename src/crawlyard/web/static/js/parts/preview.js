/** One page of a job to be looked at: what is kept of it as text, its markup where nothing runs. */
import { $, $$, fill, write } from "../core/all.js";

/** Show *page*, as the API tells of one (with its headers), in the dialog of preview.html. */
export async function preview(page) {
  const dialog = $("#preview");
  const head = page.headers?.map((pair) => pair.join(": ")).join("\n");
  fill(dialog, { ...page, name: page.title || page.url, head });
  dialog.showModal();
  let answer;
  for (const el of $$("[data-part]", dialog)) {
    answer = await fetch(page.parts[el.dataset.part]);
    write(el, answer.ok ? await answer.text() : "Nothing is kept of it.");
  }
  $("iframe", dialog).src = answer.ok ? page.parts.html : "about:blank"; // the last part is its HTML
}
