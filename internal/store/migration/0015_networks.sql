-- A security domain is for all or for some organisations, may be built in, and
-- has any number of ranges. One that has no VLAN or no subnet yet holds a number
-- below zero, or 'none:' with a number, in their place: both must be unique, and
-- SQLite cannot make a column optional afterwards.
ALTER TABLE networks ADD COLUMN builtin TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX networks_builtin ON networks (builtin) WHERE builtin <> '';
ALTER TABLE networks ADD COLUMN visible INTEGER NOT NULL DEFAULT 1; -- to all
ALTER TABLE networks ADD COLUMN ranges TEXT NOT NULL DEFAULT '';    -- of its addresses, as JSON; empty: first to last
CREATE TABLE network_organisations (
  network_id BIGINT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
  organisation_id BIGINT NOT NULL REFERENCES organisations(id),
  PRIMARY KEY (network_id, organisation_id)
);
CREATE INDEX network_organisations_organisation ON network_organisations (organisation_id);

-- 1: coming, the DHCP server does not know it yet; 2: going. Only 0 is given out.
ALTER TABLE addresses ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
DROP INDEX addresses_free;
CREATE INDEX addresses_free ON addresses (network_id, ip_num) WHERE vm_id IS NULL AND held = 0;
