package store

import (
	"fmt"
	"time"

	"baadal"
)

// AutostartTries is how often a VM is started because its host came back, until
// it is given up.
const AutostartTries = 3

// settles is how long a host that came back is given until its VMs are started:
// all of them are looked at meanwhile, so that their order is the one meant.
const settles = 3 * time.Second

// Due is a VM that is to be started because its host came back.
type Due struct {
	VMID     int64
	HostID   int64     // where it was then
	NotedAt  time.Time // when the host was seen to have been off
	Tries    int       // that are left
	RunAfter time.Time
}

// HostBoot returns the word of a host's last boot; empty if it was not seen yet.
func (tx *Tx) HostBoot(hostID int64) (boot string, err error) {
	err = tx.queryRow(`SELECT boot FROM hosts WHERE id = $1`, hostID).Scan(&boot)
	if err != nil {
		return "", notFound(err, "host", hostID)
	}
	return boot, nil
}

// stopping are the tasks after which a VM is meant to be off.
const stopping = `('Shutdown VM', 'Destroy VM', 'Save VM', 'Delete VM', 'Purge VM')`

// NoteHostBoot writes down a host's boot. If it is another one than before, the
// host was off meanwhile: those of its VMs that are to be started then, because
// they ran or because of their policy, become due. It returns how many. Call it
// before what the host says of its domains is written down. Idempotent.
func (tx *Tx) NoteHostBoot(hostID int64, boot string) (due int, err error) {
	before, err := tx.HostBoot(hostID)
	if err != nil || before == boot {
		return 0, err
	}
	if _, err := tx.exec(`UPDATE hosts SET boot = $1 WHERE id = $2`, boot, hostID); err != nil {
		return 0, fmt.Errorf("note boot of host: %w", err)
	}
	if before == "" {
		return 0, nil
	}
	// A host that goes twice keeps what was still to be started.
	if _, err := tx.exec(`UPDATE autostarts SET tries = $1, run_after = $2, noted_at = $3 WHERE host_id = $4`, AutostartTries, ms(tx.at.Add(settles)), tx.now(), hostID); err != nil {
		return 0, fmt.Errorf("note VMs to start: %w", err)
	}
	_, err = tx.exec(`INSERT INTO autostarts (vm_id, host_id, noted_at, tries, run_after)
		SELECT v.id, v.host_id, CAST($1 AS BIGINT), CAST($2 AS INTEGER), CAST($3 AS BIGINT) FROM vms v WHERE v.host_id = $4
		AND (v.autostart = 'always' AND v.state IN (2, 3, 4, 6) OR v.autostart = 'last' AND v.state IN (2, 3))
		AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.subject_kind = 'vm' AND k.subject_id = v.id AND k.active = 1 AND k.kind IN `+stopping+`)
		AND NOT EXISTS (SELECT 1 FROM autostarts a WHERE a.vm_id = v.id)`, tx.now(), AutostartTries, ms(tx.at.Add(settles)), hostID)
	if err != nil {
		return 0, fmt.Errorf("note VMs to start: %w", err)
	}
	return tx.count(`SELECT COUNT(*) FROM autostarts WHERE host_id = $1`, hostID)
}

// DueVMs returns the VMs that are to be started because their host came back:
// those that always are first, then the oldest ones.
func (tx *Tx) DueVMs() ([]Due, error) {
	all, err := collect(tx, func(r row) (d Due, err error) {
		var noted, after int64
		err = r.Scan(&d.VMID, &d.HostID, &noted, &d.Tries, &after)
		d.NotedAt, d.RunAfter = timeOf(noted), timeOf(after)
		return d, err
	}, `SELECT a.vm_id, a.host_id, a.noted_at, a.tries, a.run_after FROM autostarts a JOIN vms v ON v.id = a.vm_id
		ORDER BY CASE v.autostart WHEN 'always' THEN 0 ELSE 1 END, v.id`)
	if err != nil {
		return nil, fmt.Errorf("read VMs to start: %w", err)
	}
	return all, nil
}

// UpdateDue notes how many tries a VM has left, and when the next one is.
func (tx *Tx) UpdateDue(d Due) error {
	if _, err := tx.exec(`UPDATE autostarts SET tries = $1, run_after = $2 WHERE vm_id = $3`, d.Tries, ms(d.RunAfter), d.VMID); err != nil {
		return fmt.Errorf("note VM to start: %w", err)
	}
	return nil
}

// ForgetDue leaves a VM as it is although its host came back. Idempotent.
func (tx *Tx) ForgetDue(vmID int64) error {
	if _, err := tx.exec(`DELETE FROM autostarts WHERE vm_id = $1`, vmID); err != nil {
		return fmt.Errorf("forget VM to start: %w", err)
	}
	return nil
}

// StartsOnHost counts the starts that are under way on a host and that nobody
// but the cloud itself asked for.
func (tx *Tx) StartsOnHost(hostID int64) (int, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM tasks WHERE active = 1 AND kind = $1 AND host_id = $2 AND requester_id = $3`,
		string(baadal.TaskVMStart), hostID, baadal.System().User.ID)
	if err != nil {
		return 0, fmt.Errorf("count starts: %w", err)
	}
	return n, nil
}
