package baadal

// VMEdit is the wish to change a VM; what is nil stays as it is.
type VMEdit struct {
	Name    *string `json:"name,omitempty" minLength:"1" maxLength:"30" doc:"Its domain, folder and the guest's host name stay as they are."`
	Purpose *string `json:"purpose,omitempty" maxLength:"512"`
	VCPUs   *int    `json:"vcpus,omitempty" minimum:"1" maximum:"64" doc:"More are plugged in while it runs, if it was started with room for them; fewer at its next cold start."`
	RAMMiB  *int    `json:"ram_mib,omitempty" minimum:"64" maximum:"1048576" doc:"MiB. While it runs the guest is asked to make do with less, or gets it back up to what it was started with; the rest at its next cold start."`

	Network *string `json:"network,omitempty" minLength:"1" doc:"Name or id of the security domain that its first NIC is put into, with a new address and the MAC that it has. Given alone."`

	Hosts *[]string `json:"hosts,omitempty" maxItems:"100" doc:"Names or ids of the hosts that it may run on; an empty list is any. It stays where it is."`

	Public *bool `json:"public,omitempty" doc:"true gives it a public address of its own; false takes it away, and cuts what is connected by it."`

	SecGroups *[]string `json:"secgroups,omitempty" maxItems:"20" doc:"Names or ids of its security groups, instead of those that it has; an empty list takes its firewall away. It holds at once."`

	MaxRAMMiB *int `json:"max_ram_mib,omitempty" minimum:"0" maximum:"1048576" doc:"MiB that it can be given while it runs, if its guest can take memory (Linux with virtio_mem); from its next cold start on. 0 takes the head-room away."`

	Boot      []BootDevice `json:"boot,omitempty" maxItems:"3" doc:"disk, cdrom and network in the order wanted; in force from its next cold start on."`
	Autostart *Autostart   `json:"autostart,omitempty" enum:"last,always,never" doc:"What becomes of it when its host comes back after having been off: started if it ran (last), always, or never."`
}

// Empty reports whether nothing is to be changed.
func (e VMEdit) Empty() bool {
	return e.Name == nil && e.Purpose == nil && e.VCPUs == nil && e.RAMMiB == nil && e.MaxRAMMiB == nil && e.Boot == nil && e.Autostart == nil && e.Hosts == nil && e.Public == nil && e.SecGroups == nil && e.Network == nil
}

// Validate checks the wish by itself.
func (e VMEdit) Validate() error {
	if e.Network != nil {
		alone := e
		if alone.Network = nil; !alone.Empty() {
			return Errorf(Invalid, "the network is changed alone").WithField("network").WithDetail("ask for the other changes before or after it")
		}
	}
	if e.Name != nil {
		if err := CheckName("name", *e.Name); err != nil {
			return err
		}
	}
	if e.Purpose != nil && len(*e.Purpose) > 512 {
		return Errorf(Invalid, "the purpose is longer than 512 bytes").WithField("purpose")
	}
	if e.VCPUs != nil && (*e.VCPUs < 1 || *e.VCPUs > MaxVCPUs) {
		return Errorf(Invalid, "%d vCPUs is out of range", *e.VCPUs).WithField("vcpus").WithDetail("1 to %d are possible", MaxVCPUs)
	}
	if e.RAMMiB != nil && *e.RAMMiB < MinRAMMiB {
		return Errorf(Invalid, "%d MiB of memory is too little", *e.RAMMiB).WithField("ram_mib").WithDetail("the least is %d MiB", MinRAMMiB)
	}
	if e.MaxRAMMiB != nil && *e.MaxRAMMiB != 0 && *e.MaxRAMMiB < MinRAMMiB {
		return Errorf(Invalid, "%d MiB of memory is too little", *e.MaxRAMMiB).WithField("max_ram_mib").WithDetail("the least is %d MiB, and 0 is no head-room", MinRAMMiB)
	}
	if e.Boot != nil {
		if err := CheckBoot(e.Boot); err != nil {
			return err
		}
	}
	if e.Autostart != nil {
		return CheckAutostart(*e.Autostart)
	}
	return nil
}

// Size is what a VM has of its host.
type Size struct {
	VCPUs  int `json:"vcpus"`
	RAMMiB int `json:"ram_mib"`
}

// Size is what the VM is configured to have.
func (vm *VM) Size() Size { return Size{VCPUs: vm.VCPUs, RAMMiB: vm.RAMMiB} }

// Claim is what the VM takes of its host: the larger of what it is to have and
// what it still runs with.
func (vm *VM) Claim() Size {
	return Size{VCPUs: max(vm.VCPUs, vm.LiveVCPUs), RAMMiB: max(vm.RAMMiB, vm.LiveRAMMiB)}
}

// VCPUHeadroom is how many vCPUs a VM that starts with n of them can have before
// its next start: twice as many, and at least 4. A vCPU that is not plugged in
// costs its host nothing, and the guest a few kilobytes.
func VCPUHeadroom(n int) int { return max(n, min(max(4, 2*n), MaxVCPUs)) }

// DomainSize is what an active domain has and can have before its next start.
type DomainSize struct {
	VCPUs     int
	MaxVCPUs  int
	RAMMiB    int // what the guest has
	MaxRAMMiB int // what it was started with

	RoomMiB    int // can be plugged in beside
	PluggedMiB int // of that is plugged in, or asked for
	TakenMiB   int // of that the guest uses
}

// Most is all the memory that an active domain can be given, MiB.
func (s DomainSize) Most() int { return s.MaxRAMMiB + s.RoomMiB }
