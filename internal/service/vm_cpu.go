package service

import (
	"fmt"
	"strconv"
	"strings"

	"baadal"
	"baadal/internal/placement"
	"baadal/internal/store"
)

// suitCPU makes a migration's wish ask for a host whose virtualisation is that
// of the VM's host and, if the VM is active, whose CPU and QEMU can go on with
// what it does. What is known here is what the hosts' last looks told; the task
// compares again on the hosts before anything moves.
func suitCPU(tx *store.Tx, want *placement.Want, hosts []baadal.Host, vm baadal.VM) error {
	var from baadal.Host
	for _, h := range hosts {
		if h.ID == vm.HostID {
			from = h
		}
	}
	want.Virt = from.Virt
	if vm.State != baadal.VMRunning && vm.State != baadal.VMPaused {
		return nil
	}
	cpus, err := tx.HostCPUs()
	if err != nil {
		return err
	}
	want.Unfit = map[int64]string{}
	for _, h := range hosts {
		if older(h.QEMU, from.QEMU) {
			want.Unfit[h.ID] = fmt.Sprintf("it has QEMU %s, older than %s here: a VM that runs cannot go back to it", h.QEMU, from.QEMU)
			continue
		}
		if from.Virt != "kvm" { // an emulated CPU is the same everywhere
			continue
		}
		if missing := baadal.MissingInCPU(cpus[from.ID], cpus[h.ID]); len(missing) > 0 {
			want.Unfit[h.ID] = fmt.Sprintf("its CPU (%s) lacks what the VM's has: %s", h.CPUModel, few(missing))
		}
	}
	return nil
}

// older compares versions as 7.2.22 by their first two numbers: the third one
// changes no machine. What is not known is not older.
func older(a, b string) bool {
	x, y := version(a), version(b)
	return x != 0 && y != 0 && x < y
}

func version(v string) int {
	major, rest, _ := strings.Cut(v, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	if err != nil {
		return 0
	}
	return a*1000 + b
}

func few(words []string) string {
	const most = 5
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
