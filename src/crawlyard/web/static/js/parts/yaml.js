/** A form, and the same as YAML: two views of one thing, each written from the other. */
import { $, post } from "../core/all.js";
import * as forms from "../core/form.js";

const convert = {
  template: (body) => post("/templates/convert", body),
  schedule: (body) => post("/schedules/convert", body),
};

/**
 * Let a *kind* of thing ("template", "schedule") be edited as YAML, too: *said* returns what *form* says, *refill* fills
 * it. Returns `turn`, which shows "form" or "yaml", and `is`, which says what is shown.
 */
export function views(form, { kind, said, refill }) {
  const yaml = $("#yaml");
  let shows = "form";
  yaml.disabled = true; // it is no part of the form while that is shown

  /** Show the form, or the same as YAML: what has been typed goes along. */
  async function turn(to) {
    if (to === shows) return;
    const converted = await convert[kind](to === "yaml" ? said() : { content: yaml.value });
    if (to === "yaml") yaml.value = converted.content;
    else refill(converted[kind]);
    shows = to;
    yaml.disabled = to !== "yaml";
    $("#file").hidden = to !== "yaml";
    $("#fields").hidden = to === "yaml";
    for (const name of ["form", "yaml"]) $(`#as-${name}`).ariaPressed = name === to;
  }
  for (const to of ["form", "yaml"])
    $(`#as-${to}`).onclick = async () => {
      forms.clear(form);
      await turn(to).catch((error) => {
        if (!error.code) throw error;
        forms.blame(form, error);
      });
    };
  return { turn, is: (view) => shows === view };
}
