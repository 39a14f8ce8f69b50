-- What we made on hosts, written down before it is made: the portgroups of
-- libvirt networks. Others are not ours to remove.
CREATE TABLE host_portgroups (
  host_id BIGINT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
  network TEXT NOT NULL,                -- the libvirt network
  portgroup TEXT NOT NULL,
  PRIMARY KEY (host_id, network, portgroup)
);
