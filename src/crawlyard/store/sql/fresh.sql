-- The tables of an empty SQLite file, as of the last migration, whose revision is the last line.
-- Tests compare what this makes with what the migrations make, and with what `store/tables` says.
-- Indexes are in the order of the migrations: of two that are as good, SQLite takes the one
-- that was made later.
CREATE TABLE bodies (
  page_id BIGINT NOT NULL,
  kind VARCHAR(16) NOT NULL,
  data BLOB NOT NULL,
  CONSTRAINT bodies_pkey PRIMARY KEY (page_id, kind)
);
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
CREATE TABLE days (
  owner TEXT NOT NULL,
  day DATE NOT NULL,
  pages BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  CONSTRAINT days_pkey PRIMARY KEY (owner, day)
);
CREATE TABLE events (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(48) NOT NULL,
  owner TEXT NOT NULL,
  name VARCHAR(32) NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX events_subject ON events (subject, seq);
CREATE INDEX events_owner ON events (owner, seq);
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
  given TEXT NOT NULL,
  by_grant TEXT NOT NULL,
  needs TEXT NOT NULL,
  spread SMALLINT NOT NULL,
  ready SMALLINT NOT NULL,
  tail VARCHAR(4) NOT NULL,
  dated SMALLINT NOT NULL,
  CONSTRAINT jobs_id_key UNIQUE (id),
  CONSTRAINT jobs_jobs_state_check_check CHECK (state IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled'))
);
CREATE INDEX jobs_running ON jobs (no) WHERE state = 'running';
CREATE INDEX jobs_deleted ON jobs (no) WHERE deleted_at IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, id);
CREATE INDEX jobs_ended ON jobs (ended_at, retention) WHERE ended_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX jobs_paused ON jobs (since) WHERE state = 'paused';
CREATE INDEX jobs_template ON jobs (template_id, id) WHERE template_id IS NOT NULL;
CREATE INDEX jobs_schedule ON jobs (schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (ended_at) WHERE state = 'failed';
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
CREATE TABLE log_lines (
  job_no BIGINT NOT NULL,
  n INTEGER NOT NULL,
  at BIGINT NOT NULL,
  level SMALLINT NOT NULL,
  message TEXT NOT NULL,
  url TEXT NOT NULL,
  CONSTRAINT log_lines_pkey PRIMARY KEY (job_no, n)
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
  truncated TEXT NOT NULL,
  noindex BOOLEAN NOT NULL,
  needs_scripts BOOLEAN NOT NULL,
  extracted TEXT,
  error VARCHAR(32),
  error_detail TEXT NOT NULL,
  CONSTRAINT pages_job_no_fp_key UNIQUE (job_no, fp)
);
CREATE INDEX pages_job ON pages (job_no, id);
CREATE INDEX pages_failed ON pages (job_no, id) WHERE error IS NOT NULL;
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
CREATE TABLE settings (
  name VARCHAR(32) NOT NULL,
  value TEXT NOT NULL,
  version INTEGER NOT NULL,
  updated_at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  CONSTRAINT settings_pkey PRIMARY KEY (name)
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
  terms TEXT NOT NULL,
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
CREATE TABLE term_tallies (
  term TEXT NOT NULL,
  owner TEXT NOT NULL,
  state VARCHAR(16) NOT NULL,
  priority SMALLINT NOT NULL,
  jobs BIGINT NOT NULL,
  CONSTRAINT term_tallies_pkey PRIMARY KEY (term, owner, state, priority)
)
 WITHOUT ROWID;
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
  since_seq BIGINT NOT NULL,
  version INTEGER NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CONSTRAINT webhooks_pkey PRIMARY KEY (id)
);
CREATE INDEX webhooks_job_id ON webhooks (job_id);
CREATE INDEX webhooks_owner ON webhooks (owner, id);
CREATE INDEX webhooks_own ON webhooks (owner) WHERE job_id IS NULL;
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
  CONSTRAINT deliveries_id_key UNIQUE (id),
  CONSTRAINT deliveries_webhook_id_seq_key UNIQUE (webhook_id, seq),
  CONSTRAINT deliveries_webhook_id_fkey FOREIGN KEY(webhook_id) REFERENCES webhooks (id)
);
CREATE INDEX deliveries_created_at ON deliveries (created_at);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
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
  duration BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  discovered BIGINT NOT NULL,
  done BIGINT NOT NULL,
  skipped BIGINT NOT NULL,
  redirects BIGINT NOT NULL,
  bad_redirects BIGINT NOT NULL,
  needs_scripts BIGINT NOT NULL,
  pulse TEXT NOT NULL,
  current_url TEXT NOT NULL,
  recorded_at BIGINT,
  budget TEXT NOT NULL,
  freed_at BIGINT,
  deaths INTEGER NOT NULL,
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
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO users (id, role, quota, limited, version, created_at, updated_at)
  VALUES ('local', 'admin', '{}', 0, 1, 0, 0);
INSERT INTO cursors (name, seq) VALUES ('webhooks', 0);
INSERT INTO alembic_version (version_num) VALUES ('0011');
