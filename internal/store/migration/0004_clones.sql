-- A base is a frozen disk; VMs and other bases stand on it.
CREATE TABLE bases (
  id {{id}},
  uuid TEXT NOT NULL UNIQUE,                    -- its folder's name and mark
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  parent_id BIGINT REFERENCES bases(id),        -- the base it stands on itself
  origin TEXT NOT NULL,                         -- identity of the VM whose disk it was
  size_gib INTEGER NOT NULL,
  state TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX bases_datastore ON bases (datastore_id, size_gib);
CREATE INDEX bases_parent ON bases (parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE vms ADD COLUMN base_id BIGINT REFERENCES bases(id);
ALTER TABLE vms ADD COLUMN disk_file TEXT NOT NULL DEFAULT ''; -- of the first disk, when it is not the identity's
CREATE INDEX vms_base ON vms (base_id) WHERE base_id IS NOT NULL;

-- A task may be a part of another one.
ALTER TABLE tasks ADD COLUMN parent_id BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tasks_parent ON tasks (parent_id, id) WHERE parent_id <> 0;
