-- Security groups: firewall rules that VMs can have.
CREATE TABLE secgroups (
  id {{id}},
  name TEXT NOT NULL,
  generation BIGINT NOT NULL DEFAULT 1,
  owner_id BIGINT NOT NULL REFERENCES users(id),
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX secgroups_owner_name ON secgroups (owner_id, lower(name));

CREATE TABLE secgroup_rules (
  id {{id}},
  secgroup_id BIGINT NOT NULL REFERENCES secgroups(id) ON DELETE CASCADE,
  direction TEXT NOT NULL,                      -- in, out
  protocol TEXT NOT NULL,                       -- any, tcp, udp, icmp
  first_port INTEGER NOT NULL,                  -- 0: every port
  last_port INTEGER NOT NULL,
  peer TEXT NOT NULL                            -- an address or a subnet; empty: everybody
);
CREATE UNIQUE INDEX secgroup_rules_once ON secgroup_rules (secgroup_id, direction, protocol, first_port, last_port, peer);

-- The groups that VMs have. One that a VM has is not deleted.
CREATE TABLE vm_secgroups (
  vm_id BIGINT NOT NULL REFERENCES vms(id) ON DELETE CASCADE,
  secgroup_id BIGINT NOT NULL REFERENCES secgroups(id),
  PRIMARY KEY (vm_id, secgroup_id)
);
CREATE INDEX vm_secgroups_group ON vm_secgroups (secgroup_id);
