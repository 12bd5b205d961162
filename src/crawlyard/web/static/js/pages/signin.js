/** Signing in: by a token, or at once by the code that a link has behind its "#". */
import { $ } from "../core/dom.js";
import { post } from "../core/api.js";
import { read, submits } from "../core/form.js";

const form = $("#signin");

/** Only a path of this server: "//elsewhere" would be another's. */
function next() {
  const target = new URLSearchParams(location.search).get("next") ?? "/";
  const url = new URL(target, location.origin);
  return url.origin === location.origin && target.startsWith("/") ? url.href : "/";
}

submits(form, async () => {
  await post("/auth/login", read(form));
  location.replace(next());
});

/** Use the code of a link; a link may be opened while this page is there. */
function follow() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search); // not into the history
  form.code.value = decodeURIComponent(code);
  form.requestSubmit();
}
addEventListener("hashchange", follow);
follow();
