package store

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"baadal"
)

// SetDisk notes which file an extra disk is (empty: the one that it was made
// with) and the base that it stands on, 0 for none. Idempotent.
func (tx *Tx) SetDisk(diskID int64, file string, baseID int64) error {
	if _, err := tx.exec(`UPDATE disks SET file = $1, base_id = $2, updated_at = $3, generation = generation + 1 WHERE id = $4
		AND (file <> $5 OR COALESCE(base_id, 0) <> $6)`, file, idOrNull(baseID), tx.now(), diskID, file, baseID); err != nil {
		return fmt.Errorf("set disk: %w", err)
	}
	return nil
}

// DeepVM is a VM with a disk that stands on many bases.
type DeepVM struct {
	ID    int64
	Depth int // bases under its deepest disk
}

// DeepVMs returns the VMs with a disk that stands on more bases than limit, the
// deepest first. Deleted ones, whose disks nobody touches, are left out.
func (tx *Tx) DeepVMs(limit int) ([]DeepVM, error) {
	deep, err := tx.deepBases(limit)
	if err != nil || len(deep) == 0 {
		return nil, err
	}
	var in strings.Builder
	for id := range deep {
		in.WriteString("," + strconv.FormatInt(id, 10))
	}
	ids := "(0" + in.String() + ")"
	type standing struct{ vm, base int64 }
	rows, err := collect(tx, func(r row) (s standing, err error) { return s, r.Scan(&s.vm, &s.base) },
		`SELECT v.id, v.base_id FROM vms v WHERE v.state <> 5 AND v.base_id IN `+ids+
			` UNION ALL SELECT k.vm_id, k.base_id FROM disks k JOIN vms v ON v.id = k.vm_id WHERE v.state <> 5 AND k.state <> 'deleted' AND k.base_id IN `+ids)
	if err != nil {
		return nil, fmt.Errorf("read deep disks: %w", err)
	}
	depth := map[int64]int{}
	for _, s := range rows {
		depth[s.vm] = max(depth[s.vm], deep[s.base])
	}
	all := make([]DeepVM, 0, len(depth))
	for id, n := range depth {
		all = append(all, DeepVM{ID: id, Depth: n})
	}
	slices.SortFunc(all, func(a, b DeepVM) int { return cmp.Or(cmp.Compare(b.Depth, a.Depth), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// deepBases returns the bases that are at least the limit's next one of their
// chains, with how many the chain has down to the bottom.
func (tx *Tx) deepBases(limit int) (map[int64]int, error) {
	parent := map[int64]int64{}
	rows, err := collect(tx, func(r row) (b [2]int64, err error) { return b, r.Scan(&b[0], &b[1]) }, `SELECT id, COALESCE(parent_id, 0) FROM bases`)
	if err != nil {
		return nil, fmt.Errorf("read chains of bases: %w", err)
	}
	for _, b := range rows {
		parent[b[0]] = b[1]
	}
	deep := map[int64]int{}
	for id := range parent {
		n := 0
		for at := id; at != 0 && n <= len(parent); at = parent[at] {
			n++
		}
		if n > limit {
			deep[id] = n
		}
	}
	return deep, nil
}

// FailedSince returns the subjects of tasks of a kind that failed, or were
// cancelled, since a time.
func (tx *Tx) FailedSince(kind baadal.TaskKind, since time.Time) (map[int64]bool, error) {
	ids, err := collect(tx, func(r row) (id int64, err error) { return id, r.Scan(&id) },
		`SELECT DISTINCT subject_id FROM tasks WHERE kind = $1 AND state IN ($2, $3) AND ended_at > $4`,
		string(kind), int(baadal.TaskFailed), int(baadal.TaskIgnore), ms(since))
	if err != nil {
		return nil, fmt.Errorf("read failed tasks: %w", err)
	}
	failed := make(map[int64]bool, len(ids))
	for _, id := range ids {
		failed[id] = true
	}
	return failed, nil
}

// OpenChildren counts the parts of a task that have not ended.
func (tx *Tx) OpenChildren(parentID int64) (int, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM tasks WHERE parent_id = $1 AND ended_at IS NULL`, parentID)
	if err != nil {
		return 0, fmt.Errorf("count child tasks: %w", err)
	}
	return n, nil
}
