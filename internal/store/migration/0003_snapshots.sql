-- A VM's snapshots. Their data lies in its images; xml is the whole description
-- that libvirt keeps, so that a host can be told of them again.
CREATE TABLE snapshots (
  id {{id}},
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  type TEXT NOT NULL,                           -- user, daily, weekly, monthly, yearly, system
  ready INTEGER NOT NULL DEFAULT 0,             -- 0 while a task makes it
  parent TEXT NOT NULL DEFAULT '',              -- name
  is_current INTEGER NOT NULL DEFAULT 0,
  vm_state INTEGER NOT NULL,                    -- of the VM in it: 2, 3 or 4
  vcpus INTEGER NOT NULL,                       -- the machine that a revert brings back
  ram_mib INTEGER NOT NULL,
  disk_gib INTEGER NOT NULL,
  xml TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX snapshots_vm_name ON snapshots (vm_id, lower(name));

-- Which scheduled snapshots a VM's owner wants; no row is none.
CREATE TABLE snapshot_schedules (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  daily INTEGER NOT NULL,
  weekly INTEGER NOT NULL,
  monthly INTEGER NOT NULL,
  yearly INTEGER NOT NULL
);
