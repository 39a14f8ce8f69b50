package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/store/storetest"
)

// migrationData has, for each migration, what a database of the version before
// may hold and what must be there afterwards. A new migration needs a row: the
// test says so.
var migrationData = []struct {
	before string // SQL run at the version before
	after  string // a query of one text value, at the new version
	want   string
}{
	{before: ``, after: `SELECT CAST(COUNT(*) AS TEXT) FROM idempotency_keys`, want: "0"},
	{ // disks: a VM from before has none, and can get one
		before: `INSERT INTO organisations (id, name, created_at) VALUES (9001, 'before', 0);
			INSERT INTO users (id, username, organisation_id, roles, created_at, updated_at) VALUES (9001, 'before', 9001, '[]', 0, 0);
			INSERT INTO datastores (id, name, path, state, created_at, updated_at) VALUES (9001, 'before', '/before', 'ok', 0, 0);
			INSERT INTO templates (id, name, datastore_id, file, state, created_at, updated_at) VALUES (9001, 'before', 9001, 'f', 'ready', 0, 0);
			INSERT INTO networks (id, name, vlan, cidr, bridge, portgroup, first, last, size, created_at, updated_at)
				VALUES (9001, 'before', 1, '10.0.0.0/24', 'b', 'p', '10.0.0.1', '10.0.0.2', 2, 0, 0);
			INSERT INTO vms (id, uuid, name, identity, owner_id, requester_id, organisation_id, datastore_id, template_id, network_id, vcpus, ram_mib,
				disk_gib, state, state_since, created_at, updated_at) VALUES (9001, 'u', 'before', 'before', 9001, 9001, 9001, 9001, 9001, 9001, 1, 1, 7, 4, 0, 0, 0)`,
		after: `SELECT v.name || ' ' || CAST(v.disk_gib AS TEXT) || ' ' || CAST(COUNT(d.id) AS TEXT) FROM vms v LEFT JOIN disks d ON d.vm_id = v.id AND d.state <> 'detached' GROUP BY v.name, v.disk_gib`,
		want:  "before 7 0",
	},
	{ // snapshots: the VM from before has none, and nothing is scheduled
		after: `SELECT v.name || ' ' || CAST(COUNT(s.id) AS TEXT) || ' ' || CAST(COUNT(c.vm_id) AS TEXT) FROM vms v
			LEFT JOIN snapshots s ON s.vm_id = v.id LEFT JOIN snapshot_schedules c ON c.vm_id = v.id GROUP BY v.name`,
		want: "before 0 0",
	},
	{ // clones: the VM from before stands on no base and its disk has the old name; a task from before has no parent
		before: `INSERT INTO tasks (id, kind, state, subject_kind, subject_id, subject_name, params, requester_id, requester, organisation_id,
				owner_id, created_at, run_after) VALUES (9001, 'Start VM', 1, 'vm', 9001, 'before', '{}', 9001, 'before', 9001, 9001, 0, 0)`,
		after: `SELECT v.name || ' ' || v.disk_file || ' ' || CAST(COALESCE(v.base_id, -1) AS TEXT) || ' ' || CAST(t.parent_id AS TEXT)
			FROM vms v JOIN tasks t ON t.subject_id = v.id AND t.id = 9001`,
		want: "before  -1 0",
	},
	{ // migrations between hosts: the VM from before is not on its way anywhere
		after: `SELECT name || ' ' || CAST(COALESCE(target_host_id, -1) AS TEXT) FROM vms`,
		want:  "before -1",
	},
	{ // edits: the VM from before runs with what it is configured to have
		after: `SELECT v.name || ' ' || CAST(v.vcpus AS TEXT) || ' ' || CAST(v.live_vcpus + v.live_ram_mib + v.hot_cpus AS TEXT) FROM vms v`,
		want:  "before 1 0",
	},
	{ // moves between datastores: the VM from before is not on its way anywhere
		after: `SELECT v.name || ' ' || CAST(COUNT(m.id) AS TEXT) FROM vms v LEFT JOIN disk_moves m ON m.vm_id = v.id GROUP BY v.name`,
		want:  "before 0",
	},
	{ // backups: the VM from before has none, and nothing is scheduled; the room it claims is what it was
		after: `SELECT v.name || ' ' || CAST(COUNT(b.id) AS TEXT) || ' ' || CAST(COUNT(c.vm_id) AS TEXT) || ' ' || CAST(COUNT(s.vm_id) AS TEXT) FROM vms v
			LEFT JOIN backups b ON b.vm_id = v.id LEFT JOIN backup_chains c ON c.vm_id = v.id LEFT JOIN backup_schedules s ON s.vm_id = v.id GROUP BY v.name`,
		want: "before 0 0 0",
	},
	{ // images that come and go: the template from before is everybody's, the VM from before stands on it still
		after: `SELECT m.name || ' ' || CAST(COALESCE(m.owner_id, -1) AS TEXT) || ' ' || CAST(m.organisation_id AS TEXT) || ' ' || v.name
			FROM templates m JOIN vms v ON v.template_id = m.id`,
		want: "before -1 0 before",
	},
	{ // affinity: the VM from before may run anywhere and is in no group
		after: `SELECT v.name || ' ' || CAST(COUNT(h.host_id) AS TEXT) || ' ' || CAST(COUNT(a.affinity_id) AS TEXT) FROM vms v
			LEFT JOIN vm_hosts h ON h.vm_id = v.id LEFT JOIN affinity_members a ON a.vm_id = v.id GROUP BY v.name`,
		want: "before 0 0",
	},
	{ // drives, boot order, autostart: the VM from before boots from its disk, its drive is empty, and it comes back if it ran
		after: `SELECT v.name || ' ' || v.boot || ' ' || v.autostart || ' ' || CAST(COALESCE(v.cdrom_id, -1) AS TEXT) || ' ' || m.kind || ' ' || CAST(COUNT(a.vm_id) AS TEXT)
			FROM vms v JOIN templates m ON m.id = v.template_id LEFT JOIN autostarts a ON a.vm_id = v.id GROUP BY v.name, v.boot, v.autostart, v.cdrom_id, m.kind`,
		want: "before  last -1 disk 0",
	},
	{ // chains: a disk from before stands on no base, and its file has the name that it was made with
		before: `INSERT INTO disks (id, vm_id, name, datastore_id, size_gib, state, created_at, updated_at) VALUES (9001, 9001, 'before_disk1.qcow2', 9001, 3, 'detached', 0, 0)`,
		after:  `SELECT name || ' ' || file || ' ' || CAST(COALESCE(base_id, -1) AS TEXT) FROM disks`,
		want:   "before_disk1.qcow2  -1",
	},
	{ // consoles: there are none before
		after: `SELECT v.name || ' ' || CAST(COUNT(c.hash) AS TEXT) || ' ' || CAST(COUNT(l.vm_id) AS TEXT) FROM vms v
			LEFT JOIN console_tickets c ON c.vm_id = v.id LEFT JOIN console_lines l ON l.vm_id = v.id GROUP BY v.name`,
		want: "before 0 0",
	},
	{ // NICs: the VM from before has its address on the first one
		before: `INSERT INTO addresses (id, network_id, ip, ip_num, mac, vm_id) VALUES (9001, 9001, '10.0.0.1', 167772161, 'A2:00:00:00:00:01', 9001)`,
		after:  `SELECT v.name || ' ' || a.ip || ' ' || CAST(a.nic AS TEXT) || ' ' || v.last_nics FROM vms v JOIN addresses a ON a.vm_id = v.id`,
		want:   "before 10.0.0.1 0 []",
	},
	{ // networks: the one from before is for all, is not built in, and its range is what it was
		after: `SELECT n.name || ' ' || n.builtin || CAST(n.visible AS TEXT) || ' ' || n.ranges || n.first || ' ' || CAST(SUM(a.held) AS TEXT) || ' ' || CAST(COUNT(o.organisation_id) AS TEXT)
			FROM networks n JOIN addresses a ON a.network_id = n.id LEFT JOIN network_organisations o ON o.network_id = n.id GROUP BY n.name, n.builtin, n.visible, n.ranges, n.first`,
		want: "before 1 10.0.0.1 0 0",
	},
	{ // grants for VNC clients: there are none before
		after: `SELECT v.name || ' ' || CAST(COUNT(g.id) AS TEXT) FROM vms v LEFT JOIN vnc_grants g ON g.vm_id = v.id GROUP BY v.name`,
		want:  "before 0",
	},
	{ // portgroups: nothing on a host from before is ours to remove
		before: `INSERT INTO hosts (id, name, address, ssh_port, ssh_user, host_key, fingerprint, state, state_since, created_at, updated_at)
			VALUES (9001, 'before', '192.0.2.1', 22, 'root', '', '', 1, 0, 0, 0)`,
		after: `SELECT h.name || ' ' || CAST(COUNT(p.portgroup) AS TEXT) FROM hosts h LEFT JOIN host_portgroups p ON p.host_id = h.id GROUP BY h.name`,
		want:  "before 0",
	},
	{ // strangers: nobody was looked for before
		after: `SELECT v.name || ' ' || CAST(COUNT(s.ip) AS TEXT) FROM vms v LEFT JOIN strangers s ON s.mac <> v.name GROUP BY v.name`,
		want:  "before 0",
	},
	{ // the NAT box: the VM from before has neither a public address nor open ports
		after: `SELECT v.name || ' ' || CAST(COUNT(p.ip) AS TEXT) || ' ' || CAST(COUNT(f.id) AS TEXT) || ' ' || CAST((SELECT revision FROM nat_box) AS TEXT) FROM vms v
			LEFT JOIN public_addresses p ON p.vm_id = v.id LEFT JOIN forwards f ON f.vm_id = v.id GROUP BY v.name`,
		want: "before 0 0 0",
	},
	{ // security groups: the VM from before has none, and no firewall
		after: `SELECT v.name || ' ' || CAST(COUNT(g.secgroup_id) AS TEXT) FROM vms v LEFT JOIN vm_secgroups g ON g.vm_id = v.id GROUP BY v.name`,
		want:  "before 0",
	},
	{ // IPv6: the network from before has no prefix
		after: `SELECT n.name || ' ' || n.cidr || ' ' || n.ipv6_prefix FROM networks n`,
		want:  "before 10.0.0.0/24 ",
	},
}

func TestMigrationsKeepData(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migration/*.sql")
	if err != nil || len(files) != len(migrationData) {
		t.Fatalf("%d migrations have data for %d: %v", len(files), len(migrationData), err)
	}
	storetest.EachBareDSN(t, func(t *testing.T, dsn string) {
		for i, m := range migrationData {
			migrateTo(t, dsn, files[:i])
			if m.before != "" {
				execRaw(t, dsn, m.before)
			}
		}
		storetest.OpenDSN(t, store.Config{DSN: dsn})
		for i, m := range migrationData {
			if got := queryRaw(t, dsn, m.after); got != m.want {
				t.Errorf("%s: %s gives %q, want %q", files[i], m.after, got, m.want)
			}
		}
		want := make([]string, len(files))
		for i, f := range files {
			want[i] = filepath.Base(f)
		}
		if d := cmp.Diff(strings.Join(want, " "), queryRaw(t, dsn, `SELECT name FROM schema_migrations ORDER BY version`)); d != "" {
			t.Error(d)
		}
	})
}

// migrateTo brings a database to an older version, as an older program left it.
func migrateTo(t *testing.T, dsn string, files []string) {
	t.Helper()
	if len(files) == 0 {
		return
	}
	identity := "INTEGER PRIMARY KEY AUTOINCREMENT"
	if strings.HasPrefix(dsn, "postgres") {
		identity = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
	}
	last := files[len(files)-1]
	text, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	execRaw(t, dsn, `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)`)
	execRaw(t, dsn, strings.ReplaceAll(string(text), "{{id}}", identity))
	execRaw(t, dsn, `INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, 0)`, len(files), filepath.Base(last))
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	storetest.EachBareDSN(t, func(t *testing.T, dsn string) {
		db, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		newWorld(t, db, 3)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		view(t, storetest.OpenDSN(t, store.Config{DSN: dsn}), func(tx *store.Tx) error {
			_, err := tx.UserByName("asha")
			return err
		})
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	storetest.EachBareDSN(t, func(t *testing.T, dsn string) {
		db, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		execRaw(t, dsn, `INSERT INTO schema_migrations (version, name, applied_at) VALUES (999, 'future', 0)`)
		for range 2 { // the refusal leaves no lock behind
			_, err := store.Open(t.Context(), store.Config{DSN: dsn})
			if baadal.CodeOf(err) != "database_too_new" || !strings.Contains(err.Error(), "999") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestControllersMigrateTogether opens one database many times at once.
func TestControllersMigrateTogether(t *testing.T) {
	t.Parallel()
	dsn := storetest.PostgresDSN(t)
	outcome := parallel(5, func(int) error {
		db, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err != nil {
			return err
		}
		return db.Close()
	})
	if outcome[""] != 5 {
		t.Error(outcome)
	}
}

func queryRaw(t *testing.T, dsn, query string) string {
	t.Helper()
	db, err := sql.Open(driverOf(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}
