-- Hosts that a VM may run on; no rows are any.
CREATE TABLE vm_hosts (
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  host_id BIGINT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
  PRIMARY KEY (vm_id, host_id)
);
CREATE INDEX vm_hosts_host ON vm_hosts (host_id);

-- Groups of VMs that are kept together or apart.
CREATE TABLE affinities (
  id {{id}},
  name TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  rule TEXT NOT NULL,                           -- together, apart
  owner_id BIGINT NOT NULL REFERENCES users(id),
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX affinities_owner_name ON affinities (owner_id, lower(name));

CREATE TABLE affinity_members (
  affinity_id BIGINT NOT NULL REFERENCES affinities(id) ON DELETE CASCADE,
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  PRIMARY KEY (affinity_id, vm_id)
);
CREATE INDEX affinity_members_vm ON affinity_members (vm_id);

-- The CPU of a host: its maker and its features, as its kernel names them.
ALTER TABLE hosts ADD COLUMN cpu TEXT NOT NULL DEFAULT '';
