CREATE TABLE bodies (
  page_id BIGINT NOT NULL,
  kind VARCHAR(16) NOT NULL,
  data BLOB NOT NULL,
  CONSTRAINT bodies_pkey PRIMARY KEY (page_id, kind)
);

CREATE TABLE changes (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_no BIGINT NOT NULL,
  schedule_id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  kind VARCHAR(16) NOT NULL,
  url TEXT NOT NULL,
  moved_to TEXT,
  detail TEXT NOT NULL,
  "before" BIGINT,
  "after" BIGINT,
  added INTEGER,
  removed INTEGER,
  share FLOAT
);

CREATE INDEX changes_job_no ON changes (job_no);

CREATE INDEX changes_schedule ON changes (schedule_id, seq);

CREATE INDEX changes_owner ON changes (owner, seq);

CREATE TABLE courses (
  job_no BIGINT NOT NULL,
  course TEXT NOT NULL,
  CONSTRAINT courses_pkey PRIMARY KEY (job_no)
);

CREATE TABLE cursors (
  name VARCHAR(16) NOT NULL,
  seq BIGINT NOT NULL,
  CONSTRAINT cursors_pkey PRIMARY KEY (name)
);

CREATE TABLE day_steps (
  no INTEGER NOT NULL,
  owner TEXT NOT NULL,
  day DATE NOT NULL,
  pages BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  CONSTRAINT day_steps_pkey PRIMARY KEY (no)
);

CREATE TABLE days (
  owner TEXT NOT NULL,
  day DATE NOT NULL,
  pages BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  CONSTRAINT days_pkey PRIMARY KEY (owner, day)
);

CREATE TABLE dismissals (
  owner TEXT NOT NULL,
  notice TEXT NOT NULL,
  dismissed_at BIGINT NOT NULL,
  CONSTRAINT dismissals_pkey PRIMARY KEY (owner, notice)
);

CREATE TABLE events (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(48) NOT NULL,
  owner TEXT NOT NULL,
  name VARCHAR(32) NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  data TEXT NOT NULL,
  address TEXT
);

CREATE INDEX events_subject ON events (subject, seq);

CREATE INDEX events_owner ON events (owner, seq);

CREATE INDEX events_audit ON events (seq) WHERE address IS NOT NULL;

CREATE TABLE frontier (
  id INTEGER NOT NULL,
  job_no BIGINT NOT NULL,
  fp BIGINT NOT NULL,
  url TEXT NOT NULL,
  host TEXT NOT NULL,
  depth INTEGER NOT NULL,
  via VARCHAR(16) NOT NULL,
  parent_fp BIGINT,
  hops INTEGER NOT NULL,
  origin TEXT,
  state SMALLINT NOT NULL,
  tries INTEGER NOT NULL,
  due_at BIGINT,
  rule TEXT NOT NULL,
  bucket SMALLINT,
  CONSTRAINT frontier_pkey PRIMARY KEY (id),
  CONSTRAINT frontier_job_no_fp_key UNIQUE (job_no, fp)
);

CREATE INDEX frontier_waiting ON frontier (job_no, depth, id) WHERE state = 0;

CREATE INDEX frontier_skipped ON frontier (job_no, id) WHERE state = 3;

CREATE INDEX frontier_roots ON frontier (job_no) WHERE via = 'seed' AND hops > 0;

CREATE INDEX frontier_known ON frontier (job_no, bucket, fp) WHERE bucket IS NOT NULL;

CREATE INDEX frontier_bucket ON frontier (job_no, bucket, depth, id) WHERE state = 0 AND bucket IS NOT NULL;

CREATE TABLE host_rules (
  host TEXT NOT NULL,
  state VARCHAR(8) NOT NULL,
  delay_s FLOAT,
  at_once INTEGER,
  note TEXT NOT NULL,
  actor TEXT NOT NULL,
  version INTEGER NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT host_rules_pkey PRIMARY KEY (host)
);

CREATE TABLE host_seats (
  host TEXT NOT NULL,
  worker VARCHAR(96) NOT NULL,
  wanted INTEGER NOT NULL,
  at_once INTEGER NOT NULL,
  granted INTEGER NOT NULL,
  since BIGINT NOT NULL,
  every_s FLOAT NOT NULL,
  until BIGINT NOT NULL,
  CONSTRAINT host_seats_pkey PRIMARY KEY (host, worker)
);

CREATE INDEX host_seats_worker ON host_seats (worker);

CREATE TABLE hosts (
  host TEXT NOT NULL,
  booked_until BIGINT,
  held_until BIGINT,
  strikes INTEGER DEFAULT '0' NOT NULL,
  struck_at BIGINT,
  CONSTRAINT hosts_pkey PRIMARY KEY (host)
);

CREATE TABLE instance_keys (
  id INTEGER NOT NULL,
  "key" VARCHAR(64) NOT NULL,
  CONSTRAINT instance_keys_pkey PRIMARY KEY (id)
);

CREATE TABLE job_cookies (
  job_no BIGINT NOT NULL,
  "key" VARCHAR(32) NOT NULL,
  sealed BLOB NOT NULL,
  CONSTRAINT job_cookies_pkey PRIMARY KEY (job_no, "key")
);

CREATE TABLE jobs (
  no INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  spec TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  state_reason VARCHAR(32) NOT NULL,
  detail TEXT NOT NULL,
  version INTEGER NOT NULL,
  priority SMALLINT NOT NULL,
  level SMALLINT NOT NULL,
  turn BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  since BIGINT NOT NULL,
  queued_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  started_at BIGINT,
  ended_at BIGINT,
  deleted_at BIGINT,
  failures INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  retry_of VARCHAR(36),
  retention BIGINT,
  template_id VARCHAR(36),
  template_version INTEGER,
  schedule_id VARCHAR(36),
  tick_at BIGINT,
  group_id VARCHAR(36),
  given TEXT NOT NULL,
  by_grant TEXT NOT NULL,
  needs TEXT NOT NULL,
  spread SMALLINT NOT NULL,
  ready SMALLINT NOT NULL,
  tail VARCHAR(4) NOT NULL,
  dated SMALLINT NOT NULL,
  based_on VARCHAR(36),
  dealt SMALLINT,
  unique_key TEXT,
  in_turn SMALLINT,
  settled_pages BIGINT NOT NULL,
  hidden SMALLINT NOT NULL,
  CONSTRAINT jobs_id_key UNIQUE (id),
  CONSTRAINT jobs_state_check CHECK (state IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled'))
);

CREATE INDEX jobs_running ON jobs (no) WHERE state = 'running';

CREATE INDEX jobs_deleted ON jobs (no) WHERE deleted_at IS NOT NULL;

CREATE INDEX jobs_owner ON jobs (owner, id);

CREATE INDEX jobs_settled_pages ON jobs (settled_pages, id) WHERE deleted_at IS NULL;

CREATE UNIQUE INDEX jobs_unique_key ON jobs (owner, unique_key) WHERE unique_key IS NOT NULL AND deleted_at IS NULL;

CREATE INDEX jobs_ended ON jobs (ended_at, retention) WHERE ended_at IS NOT NULL AND deleted_at IS NULL;

CREATE INDEX jobs_paused ON jobs (since) WHERE state = 'paused';

CREATE INDEX jobs_template ON jobs (template_id, id) WHERE template_id IS NOT NULL;

CREATE INDEX jobs_schedule ON jobs (schedule_id, id) WHERE schedule_id IS NOT NULL;

CREATE INDEX jobs_group ON jobs (group_id, id) WHERE group_id IS NOT NULL;

CREATE INDEX jobs_failed ON jobs (ended_at) WHERE state = 'failed';

CREATE INDEX jobs_private ON jobs (owner) WHERE hidden = 2;

CREATE INDEX jobs_claim ON jobs (level DESC, turn, queued_at, id) WHERE state = 'pending';

CREATE INDEX jobs_unready ON jobs (due_at) WHERE state = 'pending' AND ready = 0;

CREATE INDEX jobs_needs ON jobs (needs) WHERE state = 'pending' AND needs != '';

CREATE INDEX jobs_ripe ON jobs (level, due_at) WHERE state = 'pending' AND ready = 0;

CREATE INDEX jobs_turn ON jobs (owner, level, turn, queued_at, id) WHERE state = 'pending';

CREATE INDEX jobs_ready ON jobs (ready, level DESC, turn, queued_at, id) WHERE state = 'pending' AND ready = 1;

CREATE INDEX jobs_state ON jobs (state, id) WHERE (deleted_at + 0) IS NULL;

CREATE INDEX jobs_owner_state ON jobs (owner, state, id) WHERE (deleted_at + 0) IS NULL;

CREATE INDEX jobs_priority ON jobs (priority, id) WHERE deleted_at IS NULL AND priority != 1;

CREATE INDEX jobs_retries ON jobs (id) WHERE retry_of IS NOT NULL;

CREATE INDEX jobs_tail ON jobs (tail);

CREATE INDEX jobs_undated ON jobs (id) WHERE dated = 0;

CREATE INDEX jobs_based_on ON jobs (based_on) WHERE based_on IS NOT NULL;

CREATE TABLE lastmods (
  job_no BIGINT NOT NULL,
  host TEXT NOT NULL,
  told INTEGER NOT NULL,
  missed INTEGER NOT NULL,
  CONSTRAINT lastmods_pkey PRIMARY KEY (job_no, host)
);

CREATE TABLE log_lines (
  job_no BIGINT NOT NULL,
  n INTEGER NOT NULL,
  at BIGINT NOT NULL,
  level SMALLINT NOT NULL,
  message TEXT NOT NULL,
  url TEXT NOT NULL,
  CONSTRAINT log_lines_pkey PRIMARY KEY (job_no, n)
);

CREATE TABLE new_events (
  no INTEGER NOT NULL,
  subject VARCHAR(48) NOT NULL,
  owner TEXT NOT NULL,
  name VARCHAR(32) NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  data TEXT NOT NULL,
  address TEXT,
  CONSTRAINT new_events_pkey PRIMARY KEY (no)
);

CREATE TABLE operations (
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  kind VARCHAR(16) NOT NULL,
  request TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  failures TEXT NOT NULL,
  cursor TEXT NOT NULL,
  detail TEXT NOT NULL,
  leased_until BIGINT,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  ended_at BIGINT,
  CONSTRAINT operations_pkey PRIMARY KEY (id)
);

CREATE INDEX operations_owner ON operations (owner, id);

CREATE INDEX operations_running ON operations (id) WHERE state = 'running';

CREATE TABLE pages (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_no BIGINT NOT NULL,
  fp BIGINT NOT NULL,
  parent_fp BIGINT,
  body_of BIGINT,
  url TEXT NOT NULL,
  final_url TEXT NOT NULL,
  status INTEGER,
  content_type TEXT NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  lang TEXT NOT NULL,
  canonical TEXT NOT NULL,
  depth INTEGER NOT NULL,
  fetched_at BIGINT NOT NULL,
  elapsed_ms BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  sha256 VARCHAR(64) NOT NULL,
  etag TEXT NOT NULL,
  last_modified TEXT NOT NULL,
  links INTEGER NOT NULL,
  content_rule TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  content_version INTEGER NOT NULL,
  nearly_empty BOOLEAN NOT NULL,
  extracted TEXT,
  structured TEXT,
  truncated TEXT NOT NULL,
  noindex BOOLEAN NOT NULL,
  unchanged_since BIGINT,
  session TEXT NOT NULL,
  needs_scripts BOOLEAN NOT NULL,
  rendered_by TEXT NOT NULL,
  render_reason TEXT NOT NULL,
  error VARCHAR(32),
  error_detail TEXT NOT NULL,
  CONSTRAINT pages_job_no_fp_key UNIQUE (job_no, fp)
);

CREATE INDEX pages_job ON pages (job_no, id);

CREATE INDEX pages_failed ON pages (job_no, id) WHERE error IS NOT NULL;

CREATE INDEX pages_body_of ON pages (body_of) WHERE body_of IS NOT NULL;

CREATE INDEX pages_failed_at ON pages (fetched_at) WHERE error IS NOT NULL;

CREATE TABLE replies (
  asker VARCHAR(36) NOT NULL,
  "key" TEXT NOT NULL,
  request VARCHAR(64) NOT NULL,
  status INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT replies_pkey PRIMARY KEY (asker, "key")
);

CREATE INDEX replies_created_at ON replies (created_at);

CREATE TABLE robots (
  origin TEXT NOT NULL,
  status INTEGER NOT NULL,
  body BLOB NOT NULL,
  fetched_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  CONSTRAINT robots_pkey PRIMARY KEY (origin)
);

CREATE INDEX robots_expires ON robots (expires_at);

CREATE TABLE run_changes (
  job_no BIGINT NOT NULL,
  schedule_id VARCHAR(36) NOT NULL,
  base_id VARCHAR(36),
  whole_id VARCHAR(36),
  compared_at BIGINT NOT NULL,
  ended_at BIGINT,
  counts TEXT NOT NULL,
  hidden BOOLEAN DEFAULT 0 NOT NULL,
  CONSTRAINT run_changes_pkey PRIMARY KEY (job_no)
);

CREATE TABLE settings (
  name VARCHAR(32) NOT NULL,
  value TEXT NOT NULL,
  version INTEGER NOT NULL,
  updated_at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  CONSTRAINT settings_pkey PRIMARY KEY (name)
);

CREATE TABLE site_sessions (
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  name VARCHAR(64) NOT NULL,
  version INTEGER NOT NULL,
  kind VARCHAR(16) NOT NULL,
  url TEXT NOT NULL,
  user TEXT NOT NULL,
  submit TEXT NOT NULL,
  fields TEXT NOT NULL,
  origins TEXT NOT NULL,
  cookies INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  made_at BIGINT NOT NULL,
  used_at BIGINT,
  used_by VARCHAR(36),
  created_at BIGINT NOT NULL,
  CONSTRAINT site_sessions_pkey PRIMARY KEY (id),
  CONSTRAINT site_sessions_owner_name_key UNIQUE (owner, name)
);

CREATE TABLE tallies (
  owner TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  priority SMALLINT NOT NULL,
  jobs BIGINT NOT NULL,
  CONSTRAINT tallies_pkey PRIMARY KEY (owner, state, priority)
);

CREATE TABLE tally_steps (
  no INTEGER NOT NULL,
  owner TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  priority SMALLINT NOT NULL,
  jobs BIGINT NOT NULL,
  CONSTRAINT tally_steps_pkey PRIMARY KEY (no)
);

CREATE TABLE templates (
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  search TEXT NOT NULL,
  public BOOLEAN NOT NULL,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT templates_pkey PRIMARY KEY (id),
  CONSTRAINT templates_owner_name_key UNIQUE (owner, name)
);

CREATE TABLE ticks (
  schedule_id VARCHAR(36) NOT NULL,
  due_at BIGINT NOT NULL,
  outcome VARCHAR(16) NOT NULL,
  reason VARCHAR(16) NOT NULL,
  detail TEXT NOT NULL,
  job_id VARCHAR(36),
  decided_at BIGINT NOT NULL,
  beat BIGINT NOT NULL,
  CONSTRAINT ticks_pkey PRIMARY KEY (schedule_id, due_at)
);

CREATE INDEX ticks_decided_at ON ticks (decided_at);

CREATE TABLE unproven_pages (
  job_no BIGINT NOT NULL,
  fp BIGINT NOT NULL,
  read_by VARCHAR(36) NOT NULL,
  reach VARCHAR(16) NOT NULL,
  is_broken BOOLEAN NOT NULL,
  id BIGINT NOT NULL,
  url TEXT NOT NULL,
  status INTEGER,
  error VARCHAR(32),
  truncated TEXT NOT NULL,
  title TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  content_rule TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  content_version INTEGER NOT NULL,
  CONSTRAINT unproven_pages_pkey PRIMARY KEY (job_no, fp)
);

CREATE TABLE users (
  id TEXT NOT NULL,
  role VARCHAR(16) NOT NULL,
  quota TEXT NOT NULL,
  limited BOOLEAN NOT NULL,
  disabled_at BIGINT,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE TABLE views (
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  page VARCHAR(32) NOT NULL,
  "query" TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT views_pkey PRIMARY KEY (id),
  CONSTRAINT views_owner_page_name_key UNIQUE (owner, page, name)
);

CREATE TABLE webhooks (
  id VARCHAR(48) NOT NULL,
  owner TEXT NOT NULL,
  url TEXT NOT NULL,
  receiver TEXT NOT NULL,
  format VARCHAR(16) NOT NULL,
  name TEXT NOT NULL,
  rules TEXT,
  sealed BLOB,
  failing TEXT NOT NULL,
  description TEXT NOT NULL,
  events TEXT NOT NULL,
  secrets TEXT NOT NULL,
  allow_addresses TEXT NOT NULL,
  by_grant TEXT NOT NULL,
  active BOOLEAN NOT NULL,
  disabled_reason TEXT NOT NULL,
  failing_since BIGINT,
  failures INTEGER NOT NULL,
  held_until BIGINT,
  job_id VARCHAR(36),
  group_id VARCHAR(36),
  schedule_id VARCHAR(36),
  metadata TEXT NOT NULL,
  headers TEXT NOT NULL,
  page_cursor BIGINT,
  since_seq BIGINT NOT NULL,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT webhooks_pkey PRIMARY KEY (id)
);

CREATE INDEX webhooks_job_id ON webhooks (job_id);

CREATE INDEX webhooks_owner ON webhooks (owner, id);

CREATE INDEX webhooks_own ON webhooks (owner) WHERE job_id IS NULL;

CREATE UNIQUE INDEX webhooks_name ON webhooks (owner, name) WHERE name != '';

CREATE INDEX webhooks_group ON webhooks (group_id) WHERE group_id IS NOT NULL;

CREATE INDEX webhooks_pages ON webhooks (id) WHERE page_cursor >= 0;

CREATE TABLE workers (
  id VARCHAR(96) NOT NULL,
  report TEXT NOT NULL,
  beat_at BIGINT NOT NULL,
  wish VARCHAR(8) DEFAULT '' NOT NULL,
  CONSTRAINT workers_pkey PRIMARY KEY (id)
);

CREATE TABLE credentials (
  id VARCHAR(36) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  user_id TEXT NOT NULL,
  label TEXT NOT NULL,
  prefix VARCHAR(16) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  permits TEXT,
  parent_id VARCHAR(36),
  target TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  used_at BIGINT,
  revoked_at BIGINT,
  CONSTRAINT credentials_pkey PRIMARY KEY (id),
  CONSTRAINT credentials_digest_key UNIQUE (digest),
  CONSTRAINT credentials_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id)
);

CREATE INDEX credentials_user ON credentials (user_id, id);

CREATE INDEX credentials_parent ON credentials (parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE deliveries (
  no INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  id VARCHAR(64) NOT NULL,
  webhook_id VARCHAR(48) NOT NULL,
  seq BIGINT NOT NULL,
  name VARCHAR(32) NOT NULL,
  state VARCHAR(16) NOT NULL,
  attempts TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  leased_until BIGINT,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  recurrence VARCHAR(8) NOT NULL,
  CONSTRAINT deliveries_id_key UNIQUE (id),
  CONSTRAINT deliveries_webhook_id_seq_key UNIQUE (webhook_id, seq),
  CONSTRAINT deliveries_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES webhooks (id)
);

CREATE INDEX deliveries_created_at ON deliveries (created_at);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';

CREATE INDEX deliveries_turns ON deliveries (state, webhook_id, due_at) WHERE state = 'pending';

CREATE TABLE job_hosts (
  host TEXT NOT NULL,
  job_no INTEGER NOT NULL,
  CONSTRAINT job_hosts_pkey PRIMARY KEY (host, job_no),
  CONSTRAINT job_hosts_job_no_fkey FOREIGN KEY(job_no) REFERENCES jobs (no)
)
 WITHOUT ROWID;

CREATE INDEX job_hosts_job_no ON job_hosts (job_no);

CREATE TABLE job_tags (
  tag TEXT NOT NULL,
  job_no INTEGER NOT NULL,
  CONSTRAINT job_tags_pkey PRIMARY KEY (tag, job_no),
  CONSTRAINT job_tags_job_no_fkey FOREIGN KEY(job_no) REFERENCES jobs (no)
);

CREATE INDEX job_tags_job_no ON job_tags (job_no);

CREATE TABLE job_texts (
  job_no INTEGER NOT NULL,
  text TEXT NOT NULL,
  CONSTRAINT job_texts_pkey PRIMARY KEY (job_no),
  CONSTRAINT job_texts_job_no_fkey FOREIGN KEY(job_no) REFERENCES jobs (no)
);

CREATE TABLE schedules (
  id VARCHAR(36) NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  search TEXT NOT NULL,
  template_id VARCHAR(36),
  "plan" TEXT NOT NULL,
  trusted BOOLEAN NOT NULL,
  private BOOLEAN DEFAULT 0 NOT NULL,
  runs_left BIGINT,
  paused_at BIGINT,
  next_at BIGINT,
  fire_at BIGINT,
  waiting_at BIGINT,
  fresh_beat BIGINT NOT NULL,
  beat BIGINT NOT NULL,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT schedules_pkey PRIMARY KEY (id),
  CONSTRAINT schedules_owner_name_key UNIQUE (owner, name),
  CONSTRAINT schedules_template_id_fkey FOREIGN KEY(template_id) REFERENCES templates (id)
);

CREATE INDEX schedules_template_id ON schedules (template_id);

CREATE INDEX schedules_fire ON schedules (fire_at) WHERE fire_at IS NOT NULL;

CREATE INDEX schedules_waiting ON schedules (waiting_at) WHERE waiting_at IS NOT NULL;

CREATE TABLE shards (
  job_no INTEGER NOT NULL,
  shard INTEGER NOT NULL,
  worker TEXT,
  attempt INTEGER NOT NULL,
  lease_until BIGINT,
  seq BIGINT NOT NULL,
  pages BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  duration_s FLOAT NOT NULL,
  errors BIGINT NOT NULL,
  discovered BIGINT NOT NULL,
  done BIGINT NOT NULL,
  skipped BIGINT NOT NULL,
  redirects BIGINT NOT NULL,
  bad_redirects BIGINT NOT NULL,
  needs_scripts BIGINT NOT NULL,
  unchanged BIGINT NOT NULL,
  requests_saved BIGINT NOT NULL,
  bytes_saved BIGINT NOT NULL,
  rendered BIGINT NOT NULL,
  subrequests BIGINT NOT NULL,
  render_s FLOAT NOT NULL,
  render_took_s FLOAT NOT NULL,
  pulse TEXT NOT NULL,
  current_url TEXT NOT NULL,
  recorded_at BIGINT,
  budget TEXT NOT NULL,
  freed_at BIGINT,
  deaths INTEGER NOT NULL,
  asked_by TEXT,
  CONSTRAINT shards_pkey PRIMARY KEY (job_no, shard),
  CONSTRAINT shards_job_no_fkey FOREIGN KEY(job_no) REFERENCES jobs (no)
);

CREATE INDEX shards_worker ON shards (worker) WHERE worker IS NOT NULL;

CREATE TABLE template_versions (
  template_id VARCHAR(36) NOT NULL,
  version INTEGER NOT NULL,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  public BOOLEAN NOT NULL,
  spec TEXT NOT NULL,
  parameters TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  trusted BOOLEAN NOT NULL,
  CONSTRAINT template_versions_pkey PRIMARY KEY (template_id, version),
  CONSTRAINT template_versions_template_id_fkey FOREIGN KEY(template_id) REFERENCES templates (id)
);

CREATE TABLE page_search_gone (
  job_no BIGINT NOT NULL,
  page_id BIGINT NOT NULL,
  PRIMARY KEY (job_no)
);

CREATE TABLE page_search_marks (
  id INTEGER NOT NULL,
  low BIGINT NOT NULL,
  high BIGINT NOT NULL,
  holder VARCHAR(64) NOT NULL,
  until BIGINT NOT NULL,
  loose BOOLEAN NOT NULL,
  swept TEXT,
  PRIMARY KEY (id)
);

CREATE TABLE page_search_terms (
  term TEXT NOT NULL,
  PRIMARY KEY (term)
)
 WITHOUT ROWID;

CREATE VIRTUAL TABLE page_search USING fts5(
  words, content='', columnsize=0, detail=full, tokenize="ascii tokenchars '_#'"
);

INSERT INTO page_search (page_search, rank) VALUES ('automerge', 8);

INSERT INTO page_search (page_search, rank) VALUES ('hashsize', 16777216);

CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  PRIMARY KEY (version_num)
);

INSERT INTO page_search_marks (id, low, high, holder, until, loose) VALUES (1, 0, 0, '', 0, 0);

INSERT INTO users (id, role, quota, limited, version, created_at, updated_at) VALUES ('local', 'admin', '{}', 0, 1, 0, 0);

INSERT INTO settings (name, value, version, updated_at, actor) VALUES ('sharing', '{"visibility":"everyone"}', 1, 0, '');

INSERT INTO cursors (name, seq) VALUES ('webhooks', 0);

INSERT INTO alembic_version (version_num) VALUES ('0136')