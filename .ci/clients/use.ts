// What a program does with the generated types: every kind of thing made, found and changed.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const { SERVER: server, SITE: site, CRAWLYARD_TOKEN: token } = process.env as Record<string, string>;
const { GET, POST, PATCH } = createClient<paths>({
  baseUrl: server,
  headers: { Authorization: `Bearer ${token}` },
});
const host = new URL(site).host;
const form = { urls: [site], allow_addresses: [host], limits: { pages: 10 }, delay_s: 0 };

/** Return what was answered, or fail with the problem. */
function had<T>(answer: { data?: T; error?: unknown }): T {
  assert.equal(answer.error, undefined, JSON.stringify(answer.error));
  return answer.data as T;
}

const job = had(await POST("/api/v1/jobs", { body: form }));
const one = { params: { path: { job_id: job.id } } };
assert.equal(had(await PATCH("/api/v1/jobs/{job_id}", { ...one, body: { name: "changed" } })).spec.name, "changed");
let state = job.state;
while (!["completed", "failed", "cancelled"].includes(state)) {
  state = had(await GET("/api/v1/jobs/{job_id}/wait", { params: { ...one.params, query: { timeout_s: 20 } } })).state;
}
assert.equal(had(await GET("/api/v1/jobs/{job_id}", one)).usage.pages, 10);
assert(had(await GET("/api/v1/jobs", { params: { query: { state: ["completed"] } } })).items.some(({ id }) => id === job.id));

const later = { ...form, start_at: "2999-01-01T00:00:00Z" };
const keyed = { body: { ...later, unique_key: "ts" } };
assert.equal(had(await POST("/api/v1/jobs", keyed)).id, had(await POST("/api/v1/jobs", keyed)).id);
const repeated = { body: later, params: { header: { "Idempotency-Key": "ts" } } };
assert.equal(had(await POST("/api/v1/jobs", repeated)).id, had(await POST("/api/v1/jobs", repeated)).id);
const batch = had(await POST("/api/v1/jobs/batch", { body: { jobs: [later, later] } }));
const group = { params: { path: { group_id: batch.group_id! } } };
assert.equal(had(await GET("/api/v1/groups/{group_id}/wait", { params: { ...group.params, query: { timeout_s: 0 } } })).ended, false);
had(await POST("/api/v1/groups/{group_id}/cancel", { ...group, body: {} }));
assert(had(await GET("/api/v1/groups/{group_id}", group)).ended);

const template = had(await POST("/api/v1/templates", { body: { name: "other", spec: form } }));
const named = { path: { ref: template.id }, header: { "If-Match": `"v${template.version}"` } };
assert.equal(had(await PATCH("/api/v1/templates/{ref}", { params: named, body: { description: "ours" } })).version, 2);
assert(had(await GET("/api/v1/templates", {})).items.some(({ id }) => id === template.id));

const schedule = had(await POST("/api/v1/schedules", { body: { name: "weekly", when: "0 3 * * 1", template: "other" } }));
const its = { path: { ref: schedule.id }, header: { "If-Match": "*" } };
assert.equal(had(await PATCH("/api/v1/schedules/{ref}", { params: its, body: { when: "every 6h" } })).when, "every 6h");
assert(had(await GET("/api/v1/schedules", {})).items.some(({ id }) => id === schedule.id));

const hook = had(await POST("/api/v1/webhooks", { body: { url: `http://${host}/hook`, allow_addresses: [host] } }));
const path = { params: { path: { webhook_id: hook.id } } };
assert.equal(had(await PATCH("/api/v1/webhooks/{webhook_id}", { ...path, body: { description: "chat" } })).description, "chat");
assert(had(await GET("/api/v1/webhooks", {})).items.some(({ id }) => id === hook.id));
console.log("the TypeScript client works");
