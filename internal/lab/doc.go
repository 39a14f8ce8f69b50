// Package lab builds a whole cloud on one Linux machine: hosts (libvirtd, QEMU, Open vSwitch and sshd, each set in
// namespaces of its own), a switch, a controller's place, a DHCP box, a NAT box and shared datastores. Killing a
// host's process 1 is pulling its power cord; cutting a host drops its packets while it lives on.
//
// A lab lives in one folder. Outside it there are only processes, cgroups and mounts that [Lab.Down] removes, also
// after a crash half-way. It never changes the machine's own network, libvirt or files, and several labs stand side
// by side. The package knows nothing of the rest of Baadal and must not: what is tested on the lab cannot help itself
// from inside it.
package lab
