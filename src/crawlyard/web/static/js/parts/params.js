/** Parameters of a template, as fields of a form. */
import { $$, rows } from "../core/all.js";

const AS = { url: "url", list: "words", integer: "number", number: "number", boolean: "number" };

/** Show the parameters of *template* in *root*; nothing without a template. */
export function params(root, { parameters = [] } = {}) {
  rows(root, "param", parameters.map((parameter) => ({ ...parameter, type: parameter.type.replace("url", "URL") })));
  $$("input", root).forEach((el, n) => {
    const { name, type, default: value } = parameters[n];
    el.name = `params.${name}`;
    el.placeholder = value ?? "";
    el.dataset.as = AS[type] ?? "text";
  });
}

/** Name of a template in a list of options. */
export const chosen = (template, user) => (template.owner === user ? template.name : `${template.owner}/${template.name}`);
