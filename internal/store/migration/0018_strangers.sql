-- Who answers for an address that no VM of ours has with this MAC. It is not
-- given out while it is seen.
CREATE TABLE strangers (
  ip TEXT NOT NULL PRIMARY KEY,
  mac TEXT NOT NULL,
  seen_at BIGINT NOT NULL
);
