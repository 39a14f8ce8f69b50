-- One text for SQLite and PostgreSQL. {{id}} becomes the engine's identity column.
-- Times are BIGINT Unix milliseconds, JSON is TEXT, booleans are INTEGER 0/1.
-- Rows that people change carry a generation that updates check.

CREATE TABLE organisations (
  id {{id}},
  name TEXT NOT NULL UNIQUE,
  details TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL
);

CREATE TABLE users (
  id {{id}},
  username TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL DEFAULT '',
  email TEXT NOT NULL DEFAULT '',
  generation BIGINT NOT NULL DEFAULT 1,
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  roles TEXT NOT NULL,                          -- JSON list
  blocked INTEGER NOT NULL DEFAULT 0,
  must_change INTEGER NOT NULL DEFAULT 0,
  ssh_keys TEXT NOT NULL DEFAULT '[]',
  password_hash TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE sessions (
  hash TEXT PRIMARY KEY,                        -- SHA-256 of the secret
  user_id BIGINT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE tokens (
  id {{id}},
  user_id BIGINT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  last_used BIGINT,
  expires_at BIGINT,
  UNIQUE (user_id, name)
);

CREATE TABLE settings (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  updated_at BIGINT NOT NULL,
  updated_by TEXT NOT NULL
);

CREATE TABLE hosts (
  id {{id}},
  name TEXT NOT NULL UNIQUE,
  generation BIGINT NOT NULL DEFAULT 1,
  address TEXT NOT NULL,
  ssh_port INTEGER NOT NULL,
  ssh_user TEXT NOT NULL,
  host_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state INTEGER NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  state_since BIGINT NOT NULL,
  last_seen BIGINT,
  facts TEXT NOT NULL DEFAULT '{}',             -- baadal.HostFacts as JSON
  cpus INTEGER NOT NULL DEFAULT 0,              -- copies of facts that placement counts with
  ram_mib INTEGER NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (address, ssh_port)
);

CREATE TABLE datastores (
  id {{id}},
  name TEXT NOT NULL UNIQUE,
  generation BIGINT NOT NULL DEFAULT 1,
  path TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  capacity BIGINT NOT NULL DEFAULT 0,
  used BIGINT NOT NULL DEFAULT 0,
  free BIGINT NOT NULL DEFAULT 0,
  measured_at BIGINT,
  hosts TEXT NOT NULL DEFAULT '[]',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE templates (
  id {{id}},
  name TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  os TEXT NOT NULL DEFAULT '',
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  file TEXT NOT NULL,
  format TEXT NOT NULL DEFAULT '',
  virtual_size BIGINT NOT NULL DEFAULT 0,
  file_size BIGINT NOT NULL DEFAULT 0,
  sha256 TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL,
  source TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (datastore_id, file)
);
CREATE UNIQUE INDEX templates_name ON templates (name) WHERE state <> 'deleted';

CREATE TABLE networks (
  id {{id}},
  name TEXT NOT NULL UNIQUE,
  generation BIGINT NOT NULL DEFAULT 1,
  vlan INTEGER NOT NULL UNIQUE,
  cidr TEXT NOT NULL UNIQUE,
  gateway TEXT NOT NULL DEFAULT '',
  dns TEXT NOT NULL DEFAULT '[]',
  bridge TEXT NOT NULL,
  portgroup TEXT NOT NULL,
  first TEXT NOT NULL,
  last TEXT NOT NULL,
  size INTEGER NOT NULL,                        -- addresses in the range; it does not change
  applied INTEGER NOT NULL DEFAULT 0,
  deleting INTEGER NOT NULL DEFAULT 0,          -- its reservations leave the DHCP server
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE vms (
  id {{id}},
  uuid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  identity TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  owner_id BIGINT NOT NULL REFERENCES users(id),
  requester_id BIGINT NOT NULL,
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  host_id BIGINT REFERENCES hosts(id),
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  template_id BIGINT NOT NULL REFERENCES templates(id),
  network_id BIGINT NOT NULL REFERENCES networks(id),
  vcpus INTEGER NOT NULL,
  ram_mib INTEGER NOT NULL,
  disk_gib INTEGER NOT NULL,
  state INTEGER NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  state_since BIGINT NOT NULL,
  answered_at BIGINT,
  placement TEXT NOT NULL DEFAULT '',
  purpose TEXT NOT NULL DEFAULT '',
  ssh_keys TEXT NOT NULL DEFAULT '[]',
  last_ip TEXT NOT NULL DEFAULT '',             -- the address it gave back, wanted again at a restore
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT,
  purge_after BIGINT
);
-- 5 is deleted: a deleted VM gives its names back.
CREATE UNIQUE INDEX vms_identity ON vms (identity) WHERE state <> 5;
CREATE UNIQUE INDEX vms_owner_name ON vms (owner_id, lower(name)) WHERE state <> 5;
-- What placement sums, what lists count and sort by: read from the index alone.
CREATE INDEX vms_host ON vms (host_id, state, vcpus, ram_mib);
CREATE INDEX vms_owner ON vms (owner_id, state);
CREATE INDEX vms_datastore ON vms (datastore_id, state, disk_gib);
CREATE INDEX vms_template ON vms (template_id, state);
CREATE INDEX vms_network ON vms (network_id, state);
CREATE INDEX vms_org ON vms (organisation_id, state);
CREATE INDEX vms_state ON vms (state, id);
CREATE INDEX vms_silent ON vms (id) WHERE state = 2 AND answered_at IS NULL; -- asked for every second
CREATE INDEX vms_requester ON vms (requester_id);
CREATE INDEX vms_name ON vms (lower(name), id) WHERE state <> 5;
CREATE INDEX vms_created ON vms (created_at, id) WHERE state <> 5;

-- The console password until its owner has seen it.
CREATE TABLE vm_secrets (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  password TEXT NOT NULL
);

-- Every address of every network exists as a row with its MAC; vm_id is the claim.
CREATE TABLE addresses (
  id {{id}},
  network_id BIGINT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
  ip TEXT NOT NULL UNIQUE,
  ip_num BIGINT NOT NULL,
  mac TEXT NOT NULL UNIQUE,
  vm_id BIGINT REFERENCES vms(id)
);
CREATE UNIQUE INDEX addresses_vm_id ON addresses (vm_id) WHERE vm_id IS NOT NULL;
CREATE INDEX addresses_free ON addresses (network_id, ip_num) WHERE vm_id IS NULL;
CREATE INDEX addresses_claimed ON addresses (network_id, ip_num) WHERE vm_id IS NOT NULL;

CREATE TABLE vnc_ports (
  port INTEGER PRIMARY KEY,
  vm_id BIGINT NOT NULL UNIQUE REFERENCES vms(id)
);

CREATE TABLE tasks (
  id {{id}},
  kind TEXT NOT NULL,
  state INTEGER NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  subject_kind TEXT NOT NULL,
  subject_id BIGINT NOT NULL,
  subject_name TEXT NOT NULL,
  params TEXT NOT NULL,
  requester_id BIGINT NOT NULL,
  requester TEXT NOT NULL,
  organisation_id BIGINT NOT NULL,
  owner_id BIGINT NOT NULL,
  host_id BIGINT NOT NULL DEFAULT 0,
  cost INTEGER NOT NULL DEFAULT 1,
  exclusive INTEGER NOT NULL DEFAULT 1,
  active INTEGER NOT NULL DEFAULT 1,            -- 0 once nothing is left to do or to undo
  step TEXT NOT NULL DEFAULT '',
  progress INTEGER NOT NULL DEFAULT 0,
  message TEXT NOT NULL DEFAULT '',
  code TEXT NOT NULL DEFAULT '',
  attempt INTEGER NOT NULL DEFAULT 0,
  cancel_by TEXT NOT NULL DEFAULT '',
  undoing INTEGER NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  ended_at BIGINT,
  run_after BIGINT NOT NULL,
  deadline BIGINT,
  lease_owner TEXT NOT NULL DEFAULT '',
  lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX tasks_one_per_subject ON tasks (subject_kind, subject_id) WHERE active = 1 AND exclusive = 1;
CREATE INDEX tasks_due ON tasks (run_after, id) WHERE active = 1;
CREATE INDEX tasks_subject ON tasks (subject_kind, subject_id, id);
CREATE INDEX tasks_owner ON tasks (owner_id, id);

CREATE TABLE task_steps (
  task_id BIGINT NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  output TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '',
  started_at BIGINT,
  ended_at BIGINT,
  PRIMARY KEY (task_id, seq)
);

CREATE TABLE events (
  id {{id}},
  at BIGINT NOT NULL,
  topic TEXT NOT NULL,
  subject_kind TEXT NOT NULL,
  subject_id BIGINT NOT NULL,
  subject_name TEXT NOT NULL,
  version BIGINT NOT NULL,
  what TEXT NOT NULL,
  actor_id BIGINT NOT NULL,
  actor TEXT NOT NULL,
  owner_id BIGINT NOT NULL,
  organisation_id BIGINT NOT NULL,
  changes TEXT NOT NULL DEFAULT ''
);
CREATE INDEX events_subject ON events (subject_kind, subject_id, id);

-- An idempotency key remembers the answer to a create, per caller.
CREATE TABLE idempotency_keys (
  user_id BIGINT NOT NULL,
  key TEXT NOT NULL,
  request TEXT NOT NULL,                        -- SHA-256 of method, path and body
  status INTEGER NOT NULL,                      -- 0 while the first call is at work
  response TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, key)
);

-- The last audit, and other small documents the controller keeps.
CREATE TABLE documents (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  updated_at BIGINT NOT NULL
);
