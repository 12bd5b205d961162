/** Client of the public API. */
const BASE = "/api/v1";

/** A problem (RFC 9457): *code*, *detail*, and *errors* with pointers if any. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    Object.assign(this, problem, { status });
  }
}

// crypto.randomUUID exists only over TLS and on loopback
const key = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/**
 * Send a request; resolves to the JSON of the response, null if empty.
 * With a *version*, the change applies only to it ("*": to any).
 */
export async function api(method, path, body, version) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["content-type"] = "application/json";
  if (method === "POST" && !path.startsWith("/auth/")) headers["idempotency-key"] = key();
  if (version != null) headers["if-match"] = version === "*" ? "*" : `"v${version}"`;
  let answer;
  try {
    answer = await fetch(BASE + path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, { code: "away", detail: "the server does not respond; try again", read: method === "GET" });
  }
  const content = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  if (answer.status === 401) dispatchEvent(new Event("signedout"));
  throw new Problem(answer.status, content ?? {});
}

export const get = (path) => api("GET", path);
export const post = (path, body = {}, version) => api("POST", path, body, version);
export const patch = (path, body, version) => api("PATCH", path, body, version);
export const put = (path, body, version) => api("PUT", path, body, version);
export const remove = (path, version) => api("DELETE", path, undefined, version);

/** A query string without empty values: {state: "", q: "x"} is "?q=x". */
export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value != null && value !== "");
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export const segment = encodeURIComponent;
