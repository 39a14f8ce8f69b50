package lab

import (
	"context"
	"io"
)

// What the tests see of the inside.
var (
	ParseStat       = parseStat
	MissingPrograms = missingPrograms
	AcquireLock     = acquireLock
	CopyTree        = copyTree
	MACOf           = mac
	NodeNames       = nodeNames
)

func ParseCgroups(r io.Reader, unified bool) (describe string, err error) {
	c, err := parseCgroups(r, unified)
	return c.describe(), err
}

func Programs() [][2]string { return programs }

// Unified asks for cgroup version 2 where there are both.
func Unified(o Options) Options {
	o.unified = true
	return o
}

// CgroupDirs are the lab's cgroups that exist, and Members the processes in them.
func (l *Lab) CgroupDirs() []string {
	var dirs []string
	for _, h := range l.cgroups.hierarchies {
		if dir := h.dir + "/" + l.cgroups.lab; exists(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (l *Lab) Members() []int { return l.cgroups.members("") }

func (l *Lab) MountsBelow() ([]string, error) { return mountsBelow(l.dir) }

// Cables lists the insides and outsides of a node's cables, with MAC and address.
func Cables(node string) []string {
	var all []string
	for _, c := range cablesOf(node) {
		all = append(all, c.outside+" "+c.inside+" "+c.mac+" "+c.address)
	}
	return all
}

// ProbeKVM says whether KVM runs the tiny guest here.
func (l *Lab) ProbeKVM(ctx context.Context) (bool, error) {
	g, err := buildGuest(ctx, l.cache, l.log)
	if err != nil {
		return false, err
	}
	return probeKVM(ctx, g, probeLimit), nil
}
