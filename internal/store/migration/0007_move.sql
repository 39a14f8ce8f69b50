-- While a disk moves to another datastore it has room there and where it was:
-- this is the room on the one that its row does not name. disk_id 0 is the
-- VM's first disk.
CREATE TABLE disk_moves (
  id {{id}},
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  disk_id BIGINT NOT NULL,
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  size_gib INTEGER NOT NULL
);
CREATE UNIQUE INDEX disk_moves_vm_disk ON disk_moves (vm_id, disk_id);
CREATE INDEX disk_moves_datastore ON disk_moves (datastore_id, size_gib);
