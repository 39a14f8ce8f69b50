-- The disks of a VM beside its first one. A row stays until its file is purged:
-- as long as it is there, it claims its size.
CREATE TABLE disks (
  id {{id}},
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  name TEXT NOT NULL UNIQUE,                    -- of its file: <identity>_diskN.qcow2
  generation BIGINT NOT NULL DEFAULT 1,
  target TEXT NOT NULL DEFAULT '',              -- vdb, vdc …; empty while it is not attached
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  size_gib INTEGER NOT NULL,
  state TEXT NOT NULL,                          -- creating, attached, detached, deleted
  bytes_per_second BIGINT NOT NULL DEFAULT 0,   -- 0 is no limit
  iops BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  deleted_at BIGINT,
  purge_after BIGINT
);
CREATE UNIQUE INDEX disks_target ON disks (vm_id, target) WHERE target <> '';
CREATE INDEX disks_datastore ON disks (datastore_id, size_gib);
CREATE INDEX disks_purge ON disks (purge_after) WHERE state = 'deleted';

-- The limits of a VM's first disk, whose row is the VM's.
CREATE TABLE first_disk_limits (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  bytes_per_second BIGINT NOT NULL,
  iops BIGINT NOT NULL
);

-- What a disk's file occupies, as it was measured last.
CREATE TABLE disk_sizes (
  datastore_id BIGINT NOT NULL REFERENCES datastores(id) ON DELETE CASCADE,
  file TEXT NOT NULL,
  used BIGINT NOT NULL,
  measured_at BIGINT NOT NULL,
  PRIMARY KEY (datastore_id, file)
);
