-- The pool of public addresses; vm_id is the claim. A deleted VM that had one
-- gets it again when it is restored, unless somebody else needed it.
CREATE TABLE public_addresses (
  id {{id}},
  ip TEXT NOT NULL UNIQUE,
  ip_num BIGINT NOT NULL,
  vm_id BIGINT REFERENCES vms(id),
  kept_for BIGINT REFERENCES vms(id),
  revision BIGINT NOT NULL DEFAULT 0    -- of the table with its last change
);
CREATE UNIQUE INDEX public_addresses_vm_id ON public_addresses (vm_id) WHERE vm_id IS NOT NULL;
CREATE INDEX public_addresses_kept ON public_addresses (kept_for) WHERE kept_for IS NOT NULL;

-- Ports of the NAT box's own public address that lead inside for a time.
CREATE TABLE forwards (
  id {{id}},
  vm_id BIGINT NOT NULL REFERENCES vms(id),
  generation BIGINT NOT NULL DEFAULT 1,
  service TEXT NOT NULL,                -- what keeps it
  protocol TEXT NOT NULL,
  public_port INTEGER NOT NULL,
  target TEXT NOT NULL DEFAULT '',      -- an address; the VM's own if empty
  port INTEGER NOT NULL,                -- of the target
  expires_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by BIGINT NOT NULL REFERENCES users(id),
  revision BIGINT NOT NULL DEFAULT 0,
  UNIQUE (protocol, public_port),
  UNIQUE (vm_id, service, protocol, port)
);
CREATE INDEX forwards_expires ON forwards (expires_at);

-- What the NAT box was last given, and what keeps it from having the rest.
CREATE TABLE nat_box (
  id INTEGER PRIMARY KEY,
  revision BIGINT NOT NULL,
  applied BIGINT NOT NULL,
  problem TEXT NOT NULL,
  since BIGINT NOT NULL
);
INSERT INTO nat_box (id, revision, applied, problem, since) VALUES (1, 0, 0, '', 0);
