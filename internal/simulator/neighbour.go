package simulator

import (
	"context"
	"maps"
	"slices"

	"baadal"
)

// Neighbours looks into the networks of the world's guests.
type Neighbours struct{ w *World }

// Neighbours returns the box that looks.
func (w *World) Neighbours() *Neighbours { return &Neighbours{w: w} }

// Neighbours tells who answers for these addresses.
func (n *Neighbours) Neighbours(ctx context.Context, addresses []string) (seen map[string]string, err error) {
	err = n.w.around(ctx, "neighbours", baadal.Host{}, func() error {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		seen = maps.Clone(n.w.strangers)
		maps.DeleteFunc(seen, func(ip, _ string) bool { return !slices.Contains(addresses, ip) })
		return nil
	})
	return seen, err
}

// SetStranger lets somebody answer for an address; nobody any more if the MAC is
// empty. It does not outlive the process.
func (w *World) SetStranger(ip, mac string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.strangers == nil {
		w.strangers = map[string]string{}
	}
	if w.strangers[ip] = mac; mac == "" {
		delete(w.strangers, ip)
	}
}
