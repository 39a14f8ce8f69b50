-- What a VM still runs with, where that is not what it is configured to have
-- from its next cold start on; 0 is no difference. The larger of both is claimed.
ALTER TABLE vms ADD COLUMN live_vcpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN live_ram_mib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN hot_cpus INTEGER NOT NULL DEFAULT 0; -- 1: vCPUs were added while it runs
DROP INDEX vms_host;
CREATE INDEX vms_host ON vms (host_id, state, vcpus, ram_mib, live_vcpus, live_ram_mib);
DROP INDEX vms_target;
CREATE INDEX vms_target ON vms (target_host_id, vcpus, ram_mib, live_vcpus, live_ram_mib) WHERE target_host_id IS NOT NULL;
