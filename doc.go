// Package baadal holds the nouns of a private cloud: what each thing is, its
// states, its allowed transitions, its validation, and who may do what with it.
// It imports only the standard library and does no I/O.
//
// Glossary, two lines a noun:
//
//	VM           a virtual machine of a user. Known by its UUID; its name is for people.
//	             Its identity, ORG_owner_name, names its domain and its folder.
//	Host         a machine with sshd, libvirtd, QEMU and Open vSwitch that runs VMs.
//	             Reached by one SSH connection whose host key is pinned.
//	Datastore    a file system mounted at the same path on the hosts; holds all disks.
//	             Layout: vm_templates, vm_images, vm_extra_disks, vm_deleted.
//	Disk         a disk of a VM: the first one, or an extra one with a number, a file and a claim of its own.
//	             Plugged in and out while the VM runs; grows, never shrinks.
//	Backup       a copy of all disks of a VM at one moment, in vm_backups; outlives the VM.
//	             Full, or an increment that stands on another one.
//	Template     an immutable disk image that VMs start from, as thin overlays.
//	             Never removed while something stands on it.
//	Transfer     a file on its way in or out: an upload that waits to be used, an export that waits to be fetched.
//	             Lies in vm_migration_data; goes by itself when nobody comes for it.
//	Network      a security domain: one VLAN, one subnet, its range of addresses with MACs.
//	             Two VMs in one network share a broadcast domain; others do not.
//	Address      one IPv4 address of a network with its MAC; owned by at most one VM.
//	             Claimed in the transaction that stores the intent.
//	Affinity     a group of VMs that are kept together on one host, or apart on different ones.
//	             Binds who is about to be placed; what runs is never moved for it.
//	Task         a durable, step-by-step operation with undo; survives a killed controller.
//	             Ends in SUCCESS, FAILED, IGNORE or PARTIAL_SUCCESS.
//	Event        one line of history: who changed what, when; also what /events streams.
//	             Written in the transaction of the change.
//	User         a person with roles (user, faculty, orgadmin, admin) in one organisation.
//	             Signs in with a password (session) or with a token (programs).
//	Setting      a typed value an administrator may change while the cloud runs.
//	             Unknown names are refused.
//	Difference   a finding of the audit: what the store says against what was seen.
//	             Repair does only what is safe.
package baadal
