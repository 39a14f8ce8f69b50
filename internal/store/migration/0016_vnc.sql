-- Grants for VNC clients: those that live, and those of the last day, which count.
CREATE TABLE vnc_grants (
  id {{id}},
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  user_id BIGINT NOT NULL REFERENCES users(id),
  generation BIGINT NOT NULL DEFAULT 1,
  password TEXT NOT NULL,                 -- VNC's challenge needs it as it is; emptied at the end
  controller TEXT NOT NULL,               -- the address of the one that listens
  held_until BIGINT NOT NULL,             -- and how long nobody else does
  open INTEGER NOT NULL DEFAULT 0,        -- what it said last
  problem TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE UNIQUE INDEX vnc_grants_vm_id ON vnc_grants (vm_id) WHERE ended_at IS NULL;
CREATE INDEX vnc_grants_created ON vnc_grants (vm_id, created_at);
