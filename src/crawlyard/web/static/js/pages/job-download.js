/** Download: at once in the format that was used last, or as chosen. */
import { $, $$ } from "../core/all.js";

const panel = $("#dl");
const form = $("form", panel);
const setVisible = (on) => {
  panel.hidden = !on;
  for (const el of $$("[data-dl]")) el.ariaExpanded = on;
};

const TEXT = ["jsonl", "csv"]; // the others are compressed as they are

function named() {
  $("#dl-as").textContent = $("input:checked + span", form).firstChild.data;
  form.gzip.disabled = $("#packed").hidden = !TEXT.includes(form.format.value);
}

form.format.value = localStorage.cyFormat ?? form.format.value;
if (!$("input[name=format]:checked", form)) form.format.value = "jsonl"; // a format that is gone
named();
form.onchange = named;
form.onsubmit = () => { localStorage.cyFormat = form.format.value; };
for (const el of $$("[data-dl]")) el.onclick = () => (panel.hidden ? begin() : setVisible(false));
$("#save-pages").onclick = () => form.requestSubmit();

/** Open the choice. */
export function begin() {
  setVisible(true);
  $("input:checked", form).focus();
}
