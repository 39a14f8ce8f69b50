package service

import (
	"context"
	"slices"
	"sync"
	"time"

	"baadal"
	"baadal/internal/store"
)

// looking is who looks at VMs' consoles through this controller. Its zero value
// is nobody.
type looking struct {
	mu   sync.Mutex
	byVM map[int64][]*looker // who came first, first
}

type looker struct {
	userID int64
	baadal.ConsoleViewer
}

// enter notes one who looks; what it returns forgets him, however often it is
// called.
func (l *looking) enter(vmID int64, a baadal.Actor, kind baadal.ConsoleKind, granted bool, since time.Time) (leave func()) {
	who := &looker{a.User.ID, baadal.ConsoleViewer{User: a.User.Username, Kind: kind, VNCClient: granted, Since: since}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byVM == nil {
		l.byVM = map[int64][]*looker{}
	}
	l.byVM[vmID] = append(l.byVM[vmID], who)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		left := slices.DeleteFunc(l.byVM[vmID], func(o *looker) bool { return o == who })
		if l.byVM[vmID] = left; len(left) == 0 {
			delete(l.byVM, vmID)
		}
	}
}

// at returns who looks at a VM's consoles, as somebody among them sees it.
func (l *looking) at(vmID, userID int64) []baadal.ConsoleViewer {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []baadal.ConsoleViewer
	for _, o := range l.byVM[vmID] {
		v := o.ConsoleViewer
		v.Yours = o.userID == userID
		all = append(all, v)
	}
	return all
}

// ConsoleViewers lists who looks at a VM's consoles now through this controller,
// for somebody who may look himself.
func (s *Service) ConsoleViewers(ctx context.Context, a baadal.Actor, ref string) ([]baadal.ConsoleViewer, error) {
	var vm baadal.VM
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if vm, err = tx.VMByRef(ref, a.Sees(baadal.ActionVMRead)); err != nil {
			return err
		}
		return reach(a, baadal.ActionVMConsole, vm.OrganisationID, vm.OwnerID, vm.RequesterID)
	})
	if err != nil {
		return nil, err
	}
	return s.looking.at(vm.ID, a.User.ID), nil
}

// lookedAt is the console of a viewer who is noted until he closes it.
type lookedAt struct {
	baadal.ConsoleStream
	leave func()
}

// Close ends it.
func (l *lookedAt) Close() error {
	l.leave()
	return l.ConsoleStream.Close() //nolint:wrapcheck // a Closer
}
