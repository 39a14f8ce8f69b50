-- Extra disks stand on bases too; their files then have another name than the
-- one that they were made with.
ALTER TABLE disks ADD COLUMN base_id BIGINT REFERENCES bases(id);
ALTER TABLE disks ADD COLUMN file TEXT NOT NULL DEFAULT '';
CREATE INDEX disks_base ON disks (base_id) WHERE base_id IS NOT NULL;
CREATE INDEX tasks_kind_ended ON tasks (kind, ended_at) WHERE ended_at IS NOT NULL;
