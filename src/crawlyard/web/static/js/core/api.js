/** The public API, as any other client has it. */
const BASE = "/api/v1";

/** What the server refuses: *code*, *detail*, perhaps *errors* with a pointer each (RFC 9457). */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    Object.assign(this, problem, { status });
  }
}

// crypto.randomUUID is there over TLS and on loopback alone
const key = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/**
 * Ask for *path*; resolves to the object of the answer, null where it has none.
 * With a *version*, the change is made to that one alone ("*": to any).
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
    throw new Problem(0, { code: "away", detail: "the server does not answer: try again", read: method === "GET" });
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

/** A query string of what is set: {state: "", q: "x"} is "?q=x". */
export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value != null && value !== "");
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

export const segment = encodeURIComponent;
