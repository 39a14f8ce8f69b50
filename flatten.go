package baadal

// VMFlatten is the wish that a VM's disks stand on no bases any more: what they
// have of them becomes their own. A template at the bottom stays.
type VMFlatten struct {
	BandwidthMiBs int `json:"bandwidth_mibs,omitempty" minimum:"0" maximum:"100000" doc:"Most MiB per second that are written; the setting chain.bandwidth_mibs if 0."`
}

// maxFlattenBandwidth is in MiB/s.
const maxFlattenBandwidth = 100_000

// Validate checks the wish by itself.
func (f *VMFlatten) Validate() error {
	if f.BandwidthMiBs < 0 || f.BandwidthMiBs > maxFlattenBandwidth {
		return Errorf(Invalid, "a bandwidth of %d MiB/s is not possible", f.BandwidthMiBs).WithField("bandwidth_mibs").
			WithDetail("1 to %d are; 0 is the setting %s", maxFlattenBandwidth, SettingChainBandwidth)
	}
	return nil
}
