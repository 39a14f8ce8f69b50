package baadal_test

import (
	"testing"

	"baadal"
)

func TestFindNIC(t *testing.T) {
	t.Parallel()
	all := []baadal.NIC{
		{Index: 0, Network: "1", Address: "10.0.0.1", MAC: "A2:00:00:00:00:01"},
		{Index: 1, Network: "lab", Address: "10.0.1.1", MAC: "A2:00:00:00:00:02"},
		{Index: 3, Network: "0", Address: "10.0.2.1", MAC: "A2:00:00:00:00:03"},
	}
	for ref, want := range map[string]int{
		"0": 0, "1": 1, "3": 3, "lab": 1, "10.0.2.1": 3, "a2:00:00:00:00:01": 0, "2": -1, "LAB": -1, "": -1, "01": -1,
	} {
		got, err := baadal.FindNIC(all, ref)
		if want < 0 {
			mustFail(t, err, baadal.NotFound, "nic_unknown", "")
		} else if err != nil || got.Index != want {
			t.Errorf("%q is NIC %d, want %d: %v", ref, got.Index, want, err)
		}
	}
}
