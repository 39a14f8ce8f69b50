-- A template without an owner is everybody's; one with an owner is his, and its
-- name is his to choose.
ALTER TABLE templates ADD COLUMN owner_id BIGINT REFERENCES users(id);
ALTER TABLE templates ADD COLUMN organisation_id BIGINT NOT NULL DEFAULT 0; -- of the owner
DROP INDEX templates_name;
CREATE UNIQUE INDEX templates_name ON templates (COALESCE(owner_id, 0), name) WHERE state <> 'deleted';
CREATE INDEX templates_owner ON templates (owner_id) WHERE owner_id IS NOT NULL;

-- A VM that was imported, launched or adopted stands on no template.
ALTER TABLE vms ADD COLUMN origin_id BIGINT REFERENCES templates(id);
UPDATE vms SET origin_id = template_id;
DROP INDEX vms_template;
ALTER TABLE vms DROP COLUMN template_id;
ALTER TABLE vms RENAME COLUMN origin_id TO template_id;
CREATE INDEX vms_template ON vms (template_id, state);

-- Files on their way into or out of the cloud.
CREATE TABLE transfers (
  id {{id}},
  uuid TEXT NOT NULL UNIQUE,                    -- the file's name below vm_migration_data
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  name TEXT NOT NULL,
  datastore_id BIGINT NOT NULL REFERENCES datastores(id),
  vm_id BIGINT NOT NULL DEFAULT 0,              -- whose disk it is; the VM may be gone
  owner_id BIGINT NOT NULL,
  organisation_id BIGINT NOT NULL,
  requester_id BIGINT NOT NULL,
  size BIGINT NOT NULL DEFAULT 0,
  virtual_size BIGINT NOT NULL DEFAULT 0,
  sha256 TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL
);
CREATE INDEX transfers_used ON transfers (used_at);
