-- Where a VM is moving to: it has room there, and still where it is.
ALTER TABLE vms ADD COLUMN target_host_id BIGINT REFERENCES hosts(id);
CREATE INDEX vms_target ON vms (target_host_id, vcpus, ram_mib) WHERE target_host_id IS NOT NULL;
