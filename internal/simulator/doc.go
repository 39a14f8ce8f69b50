// Package simulator is an outside world in memory: hosts with libvirt,
// datastores, a DHCP server, a NAT box and guests that answer. It keeps the contracts of
// internal/workflow's systems, for tests of every task, for `baadal serve
// --simulate` and for measurements with thousands of hosts. Faults can be
// ordered, hosts lose power or go silent, and people act behind our back.
//
// It knows nothing of tasks or of the store, and it does no work that a real
// system would not: an answer may be lost after the deed was done.
package simulator
