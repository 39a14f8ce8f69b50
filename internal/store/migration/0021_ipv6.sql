-- A network's IPv6 prefix, a /64; empty: it has none. Addresses in it are nobody's
-- to claim: each follows from a NIC's MAC.
ALTER TABLE networks ADD COLUMN ipv6_prefix TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX networks_ipv6_prefix ON networks (ipv6_prefix) WHERE ipv6_prefix <> '';
