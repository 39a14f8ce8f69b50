package workflow

import (
	"context"
	"slices"
	"strings"
	"time"

	"baadal"
	"baadal/internal/store"
)

// Box is a server beside the hosts that is to hold what the store says. No task
// needs it: Sync is called again and again, and brings it in line however it came
// out of it.
type Box struct {
	Name string
	Sync func(ctx context.Context) error
	Soon bool // it knows of single VMs
}

// Boxes are the servers that there are.
func (w *Workflows) Boxes() (all []Box) {
	if w.sys.DHCP != nil {
		all = append(all, Box{Name: "DHCP server", Sync: func(ctx context.Context) error { _, err := w.syncDHCP(ctx); return err }})
	}
	if w.sys.Names != nil {
		all = append(all, Box{Name: "name server", Sync: func(ctx context.Context) error { return w.syncNames(ctx, namesTrust) }, Soon: true})
	}
	if w.sys.Neighbours != nil {
		all = append(all, Box{Name: "neighbours", Sync: w.lookForStrangers})
	}
	return all
}

// syncNames makes the name server answer with what the store says. What it was
// given so recently is believed to be there still.
func (w *Workflows) syncNames(ctx context.Context, trust time.Duration) error {
	w.names.Lock()
	defer w.names.Unlock()
	records, err := w.nameRecords(ctx)
	for known := time.Since(w.namedAt) < trust; err == nil && (!known || !slices.Equal(records, w.named)); known = true {
		if err = w.sys.Names.Apply(ctx, records); err != nil {
			w.namedAt = time.Time{}
			break
		}
		// Another controller on the same database may have applied a newer list
		// before this one: then it is applied again.
		w.named, w.namedAt = records, time.Now()
		records, err = w.nameRecords(ctx)
	}
	return err
}

func (w *Workflows) nameRecords(ctx context.Context) (records []baadal.NameRecord, err error) {
	err = w.db.View(ctx, func(tx *store.Tx) (err error) { records, err = tx.NameRecords(); return err })
	return records, err
}

const (
	boxGlance = 500 * time.Millisecond

	// namesTrust is how long the name server is not looked at again when VMs
	// change but their names do not. The loop's own looks are farther apart.
	namesTrust = 5 * time.Second
)

// lookNames compares the name server with the store. What is on its way is no
// difference: it looks again until both are the same for once.
func (w *Workflows) lookNames(ctx context.Context) (missing, extra []string, err error) {
	for end := time.Now().Add(w.opt.BoxLag); ; {
		want, err := w.nameRecords(ctx)
		if err != nil {
			return nil, nil, err
		}
		have, err := w.sys.Names.NameRecords(ctx)
		missing, extra = nil, nil
		if err == nil {
			if missing, extra = without(want, have), without(have, want); len(missing)+len(extra) == 0 {
				return nil, nil, nil
			}
		}
		if time.Now().After(end) {
			return missing, extra, err
		}
		if err := sleep(ctx, boxGlance); err != nil {
			return nil, nil, err
		}
	}
}

// dhcpSight is what was seen of the DHCP server: how many reservations it has,
// and how they differ from the store's.
type dhcpSight struct {
	seen                       bool
	want, have, missing, extra int
	words                      string // why what was seen are no reservations
}

// lookReservations compares the DHCP server with the store, by addresses and
// MACs; the order and names are the server's own. What is on its way to it is no
// difference: it looks again until both are the same for once.
func (w *Workflows) lookReservations(ctx context.Context) (x dhcpSight, err error) {
	for end := time.Now().Add(w.opt.BoxLag); ; {
		want, err := w.reservations(ctx)
		if err != nil {
			return x, err
		}
		have, err := w.sys.DHCP.Reservations(ctx)
		switch {
		case err == nil:
			x = compareReservations(want, have)
		case baadal.CodeOf(err) == "dhcp_file_changed":
			x, err = dhcpSight{seen: true, want: len(want), words: baadal.Message(err)}, nil
		default:
			x = dhcpSight{}
		}
		if x.seen && x.words == "" && x.missing+x.extra == 0 || time.Now().After(end) {
			return x, err
		}
		if err := sleep(ctx, boxGlance); err != nil {
			return dhcpSight{}, err
		}
	}
}

func compareReservations(want, have []baadal.Reservation) dhcpSight {
	set := func(rs []baadal.Reservation) map[[2]string]bool {
		there := make(map[[2]string]bool, len(rs))
		for _, r := range rs {
			there[[2]string{r.IP, strings.ToUpper(r.MAC)}] = true
		}
		return there
	}
	w, h := set(want), set(have)
	x := dhcpSight{seen: true, want: len(w), have: len(h)}
	for r := range w {
		if !h[r] {
			x.missing++
		}
	}
	x.extra = x.have - (x.want - x.missing)
	return x
}

// without lists what is in one list and not in the other.
func without(in, out []baadal.NameRecord) (left []string) {
	there := make(map[baadal.NameRecord]bool, len(out))
	for _, r := range out {
		there[r] = true
	}
	for _, r := range in {
		if !there[r] {
			left = append(left, r.Name+" "+r.IP)
		}
	}
	return left
}

// some lists a few of many.
func some(all []string) string {
	const few = 3
	if len(all) > few {
		return strings.Join(all[:few], ", ") + ", …"
	}
	return strings.Join(all, ", ")
}
