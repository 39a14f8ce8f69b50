-- Copies of a VM's disks that outlive it.
CREATE TABLE backups (
  id {{id}},
  uuid TEXT NOT NULL UNIQUE,                    -- its folder's name and mark
  generation BIGINT NOT NULL DEFAULT 1,
  vm_id BIGINT REFERENCES vms(id) ON DELETE SET NULL,
  vm_name TEXT NOT NULL,
  owner_id BIGINT NOT NULL REFERENCES users(id),
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  template_id BIGINT REFERENCES templates(id) ON DELETE SET NULL, -- what the VM came from
  parent_id BIGINT REFERENCES backups(id),      -- what an increment stands on
  kind TEXT NOT NULL,
  type TEXT NOT NULL,                           -- who wanted it
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',              -- why it is not an increment, or what is wrong with it
  claim_gib INTEGER NOT NULL DEFAULT 0,         -- what it may come to need, while it is made
  bytes BIGINT NOT NULL DEFAULT 0,              -- of its files, when it is made
  machine TEXT NOT NULL,                        -- the VM that it is of, JSON
  files TEXT NOT NULL DEFAULT '[]',             -- JSON
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  verified_at BIGINT,
  gone_at BIGINT                                -- when its VM was found to be gone for good
);
CREATE INDEX backups_vm ON backups (vm_id, id);
CREATE INDEX backups_owner ON backups (owner_id, id);
CREATE INDEX backups_org ON backups (organisation_id, id);
CREATE INDEX backups_datastore ON backups (datastore_id, claim_gib, bytes);
CREATE INDEX backups_parent ON backups (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX backups_template ON backups (template_id) WHERE template_id IS NOT NULL;

-- VMs whose writes are recorded since a backup: a checkpoint in the domain and bitmaps in its disks.
CREATE TABLE backup_chains (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  backup_id BIGINT REFERENCES backups(id) ON DELETE SET NULL, -- what the next increment stands on
  checkpoint TEXT NOT NULL
);
CREATE INDEX backup_chains_backup ON backup_chains (backup_id);

CREATE TABLE backup_schedules (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  every TEXT NOT NULL,
  incremental INTEGER NOT NULL,
  keep INTEGER NOT NULL,
  datastore TEXT NOT NULL DEFAULT ''
);
