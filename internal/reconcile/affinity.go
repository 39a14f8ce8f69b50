package reconcile

import (
	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// startForbidden says which rule keeps a VM from starting where it is; empty if
// none does. The lock keeps two VMs that are to be apart from being started at
// the same time.
func startForbidden(tx *store.Tx, vm baadal.VM) (string, error) {
	r, err := tx.VMRules(vm.ID)
	if err != nil || len(r.Hosts)+len(r.Groups) == 0 {
		return "", err
	}
	if err := tx.Lock("placement"); err != nil {
		return "", err
	}
	if r, err = tx.VMRules(vm.ID); err != nil {
		return "", err
	}
	return placement.StartForbidden(r, vm), nil
}
