-- What a VM boots from, what becomes of it when its host comes back, and what
-- is in its CD drive; and which templates are CD images.
ALTER TABLE vms ADD COLUMN boot TEXT NOT NULL DEFAULT '';            -- disk,cdrom,network in the order wanted; empty is the default
ALTER TABLE vms ADD COLUMN autostart TEXT NOT NULL DEFAULT 'last';   -- last, always, never
ALTER TABLE vms ADD COLUMN cdrom_id BIGINT REFERENCES templates(id);
ALTER TABLE vms ADD COLUMN max_ram_mib INTEGER NOT NULL DEFAULT 0;   -- that it can be given while it runs; 0 is no head-room
CREATE INDEX vms_cdrom ON vms (cdrom_id) WHERE cdrom_id IS NOT NULL;
ALTER TABLE templates ADD COLUMN kind TEXT NOT NULL DEFAULT 'disk';  -- disk, iso

-- A host's boot is another word after each boot; empty until it was seen first.
ALTER TABLE hosts ADD COLUMN boot TEXT NOT NULL DEFAULT '';

-- VMs that are to be started because their host came back after having been off.
CREATE TABLE autostarts (
  vm_id BIGINT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
  host_id BIGINT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
  noted_at BIGINT NOT NULL,                     -- when the host was seen to have been off
  tries INTEGER NOT NULL,                       -- that are left
  run_after BIGINT NOT NULL
);
