package dhcp_test

import (
	"strings"
	"testing"

	"baadal"
)

// An address whose MAC changes goes to the new one at once, though the old one
// has a lease of it.
func TestAddressChangesHands(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		old, next := reservation(30), reservation(30)
		next.MAC = "A2:00:00:00:01:30"
		must(t, s.Apply(t.Context(), []baadal.Reservation{old, reservation(31)}))
		if got := b.lease(old.MAC); got != old.IP {
			t.Fatalf("got %q", got)
		}
		if got := b.lease(reservation(31).MAC); got != reservation(31).IP {
			t.Fatalf("got %q", got)
		}
		must(t, s.Apply(t.Context(), []baadal.Reservation{next, reservation(31)}))
		if got := b.lease(next.MAC); got != next.IP {
			t.Errorf("the new owner got %q", got)
		}
		if got := b.lease(old.MAC); got != "" {
			t.Errorf("the old owner got %q", got)
		}
		if got := b.client4(guest{mac: old.MAC, remember: old.IP}); got == old.IP {
			t.Errorf("the old owner, who asks for what it had, gets %q", got)
		}
		if got := b.lease(reservation(31).MAC); got != reservation(31).IP {
			t.Errorf("the neighbour got %q", got)
		}
	})
}

// A NIC that went to another address hears at once that its old one is gone, and
// the two that exchanged theirs get what is theirs now.
func TestAddressesExchanged(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		one, two := reservation(30), reservation(31)
		must(t, s.Apply(t.Context(), []baadal.Reservation{one, two}))
		for _, r := range []baadal.Reservation{one, two} {
			if got := b.lease(r.MAC); got != r.IP {
				t.Fatalf("got %q, want %q", got, r.IP)
			}
		}
		one.MAC, two.MAC = two.MAC, one.MAC
		must(t, s.Apply(t.Context(), []baadal.Reservation{one, two}))
		if got := b.client4(guest{mac: one.MAC, remember: two.IP}); got != "no" {
			t.Errorf("asked for its old address it hears %q", got)
		}
		for _, r := range []baadal.Reservation{one, two} {
			if got := b.lease(r.MAC); got != r.IP {
				t.Errorf("got %q, want %q", got, r.IP)
			}
		}
	})
}

// The next VM with an address has its MAC, too, but another system in it, which
// calls itself something else: the lease of the one before does not bar it.
func TestAnotherGuestWithTheSameMAC(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		r := reservation(30)
		must(t, b.dhcp(b).Apply(t.Context(), []baadal.Reservation{r}))
		for _, id := range []string{"\xff\x01first", "\xff\x02second", "", "\xff\x01first"} {
			if got := b.client4(guest{mac: r.MAC, id: id, takes: true}); got != r.IP {
				t.Errorf("the guest that calls itself %q got %q", id, got)
			}
		}
	})
}

// Two guests that call themselves the same, as clones do, have their own addresses.
func TestGuestsOfTheSameName(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		must(t, b.dhcp(b).Apply(t.Context(), reservations(30, 31)))
		for range 2 {
			for _, r := range reservations(30, 31) {
				if got := b.client4(guest{mac: r.MAC, id: "\xff\x01clone", takes: true}); got != r.IP {
					t.Errorf("got %q, want %q", got, r.IP)
				}
			}
		}
	})
}

// An address that a guest declined, its own or in the name of a neighbour, is
// given again after the next look, not after a day.
func TestDeclined(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, b *box) {
		s := b.dhcp(b)
		r := reservation(30)
		must(t, s.Apply(t.Context(), []baadal.Reservation{r}))
		sent := b.sent.Load()
		must(t, s.Apply(t.Context(), []baadal.Reservation{r}))
		if b.sent.Load() != sent {
			t.Error("the same again sends something")
		}
		if got := b.client4(guest{mac: r.MAC, takes: true, declines: true}); got != r.IP {
			t.Fatalf("got %q", got)
		}
		must(t, s.Apply(t.Context(), []baadal.Reservation{r}))
		if got := b.lease(r.MAC); got != r.IP {
			t.Errorf("after it was declined it got %q", got)
		}
	})
}

// Kea that was started from an older file of leases has one that bars the owner.
func TestOldLeasesComeBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, servers[1])
	s := b.dhcp(b)
	old, next := reservation(30), reservation(30)
	next.MAC = "A2:00:00:00:01:30"
	must(t, s.Apply(t.Context(), []baadal.Reservation{old}))
	if got := b.lease(old.MAC); got != old.IP {
		t.Fatalf("got %q", got)
	}
	leases := b.read("leases")
	if !strings.Contains(leases, old.IP) {
		t.Fatalf("no lease in %q", leases)
	}
	must(t, s.Apply(t.Context(), []baadal.Reservation{next}))
	b.kill()
	b.write("leases", leases)
	if out, err := b.command(b.file("restart")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := b.lease(next.MAC); got != "" {
		t.Fatalf("the new owner got %q: the test shows nothing", got)
	}
	must(t, s.Apply(t.Context(), []baadal.Reservation{next}))
	if got := b.lease(next.MAC); got != next.IP {
		t.Errorf("the new owner got %q", got)
	}
}
