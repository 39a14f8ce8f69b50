package placement

import (
	"slices"

	"baadal"
)

// Mounting returns the hosts that were not seen to lack one of the datastores.
func Mounting(hosts []baadal.Host, stores []baadal.Datastore) []baadal.Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h baadal.Host) bool { return notMounted(h, stores) != "" })
}

// ChooseDatastore picks the datastore for another disk of a VM that is on a
// host: of those that the host mounts, the one with most free space that fits.
// It says why. None is Exhausted with each one's reason.
func ChooseDatastore(h baadal.Host, stores []baadal.Datastore, want Want, lim Limits) (baadal.Datastore, string, error) {
	if want.Datastore != 0 {
		stores = slices.DeleteFunc(slices.Clone(stores), func(d baadal.Datastore) bool { return d.ID != want.Datastore })
	}
	mounted := slices.DeleteFunc(slices.Clone(stores), func(d baadal.Datastore) bool { return notMounted(h, []baadal.Datastore{d}) != "" })
	if len(mounted) == 0 && len(stores) > 0 {
		return baadal.Datastore{}, "", baadal.Errorf(baadal.Exhausted, "No datastore found.").WithCode("no_datastore").
			WithDetail("%s, where the VM is, does not mount %s", h.Name, notMounted(h, stores)).
			WithNext("See what is wrong with the host", "baadal host show "+h.Name)
	}
	return chooseDatastore(mounted, want, lim)
}
