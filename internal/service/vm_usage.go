package service

import (
	"context"

	"baadal"
	"baadal/internal/store"
)

// VMUsages lists VMs with what they use now. Those that do not run, and those
// whose host was not looked at lately, have no figures.
func (s *Service) VMUsages(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.VMUsage], err error) {
	var vms baadal.List[baadal.VM]
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { vms, err = tx.VMs(q, a.Sees(baadal.ActionVMRead)); return err })
	if err != nil {
		return list, err
	}
	list = baadal.List[baadal.VMUsage]{Items: make([]baadal.VMUsage, 0, len(vms.Items)), Total: vms.Total, Next: vms.Next, Facets: vms.Facets}
	hosts := seesHosts(a)
	if !hosts {
		delete(list.Facets, "host")
	}
	for _, vm := range vms.Items {
		u := baadal.VMUsage{ID: vm.ID, Name: vm.Name, Owner: vm.Owner, State: vm.State, VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB}
		if hosts {
			u.Host = vm.Host
		}
		if stats, known := s.statsOf(vm); known {
			u.Stats = &stats
		}
		list.Items = append(list.Items, u)
	}
	return list, nil
}

// statsOf returns a VM's figures, false if it does not run or was not looked at
// lately.
func (s *Service) statsOf(vm baadal.VM) (baadal.VMStats, bool) {
	if s.opt.Stats == nil || vm.State != baadal.VMRunning && vm.State != baadal.VMPaused {
		return baadal.VMStats{}, false
	}
	return s.opt.Stats(vm)
}
