-- A VM's NICs are the addresses that it has claimed, numbered from 0. Below 0 is
-- the address of a NIC that is leaving its network (-1 of NIC 0, -2 of NIC 1 …).
ALTER TABLE addresses ADD COLUMN nic INTEGER NOT NULL DEFAULT 0;
DROP INDEX addresses_vm_id;
CREATE UNIQUE INDEX addresses_vm_id ON addresses (vm_id, nic) WHERE vm_id IS NOT NULL;

-- The NICs beside the first one that a deleted VM had, wanted again at a restore.
ALTER TABLE vms ADD COLUMN last_nics TEXT NOT NULL DEFAULT '[]';
