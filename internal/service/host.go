package service

import (
	"context"
	"net"
	"strconv"
	"strings"

	"baadal"
	"baadal/internal/store"
)

func hostSubject(h baadal.Host) baadal.Subject {
	return baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}
}

// Hosts lists the hosts.
func (s *Service) Hosts(ctx context.Context, a baadal.Actor, q baadal.ListQuery) (list baadal.List[baadal.Host], err error) {
	if err := may(a, baadal.ActionHostRead); err != nil {
		return list, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { list, err = tx.Hosts(q); return err })
	for i := range list.Items {
		hostActions(a, &list.Items[i])
	}
	return list, err
}

// Host returns one host by id or name.
func (s *Service) Host(ctx context.Context, a baadal.Actor, ref string) (h baadal.Host, err error) {
	if err := may(a, baadal.ActionHostRead); err != nil {
		return h, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		if h, err = tx.HostByRef(ref); err != nil {
			return err
		}
		hostActions(a, &h)
		refusal := bound(tx, h)
		if refusal != nil && baadal.KindOf(refusal) != baadal.Conflict {
			return refusal // it could not be looked at
		}
		if h.Actions["remove"].Allowed {
			h.Actions["remove"] = access(refusal)
		}
		return nil
	})
	return h, err
}

func hostActions(a baadal.Actor, h *baadal.Host) {
	h.Actions = map[string]baadal.Access{
		"check":  access(may(a, baadal.ActionHostCheck)),
		"remove": access(first(may(a, baadal.ActionHostRemove), removableHost(h))),
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func removableHost(h *baadal.Host) error {
	if h.VMs > 0 {
		return baadal.Errorf(baadal.Conflict, "%s has %d VMs", h.Name, h.VMs).WithCode("host_in_use").
			WithNext("See them", "baadal vm list host:"+h.Name)
	}
	return nil
}

// splitAddress reads "address" or "address:port".
func splitAddress(in string) (addr string, port int, err error) {
	addr, port = in, 22
	if h, p, err := net.SplitHostPort(in); err == nil {
		addr = h
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", 0, baadal.Errorf(baadal.Invalid, "%q is not a port", p).WithField("address")
		}
	}
	ok := addr != "" && len(addr) <= 253 && strings.Trim(addr, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") == "" && addr[0] != '-'
	if !ok {
		return "", 0, baadal.Errorf(baadal.Invalid, "%q is not an address", in).WithField("address").
			WithDetail("give an IP address or a DNS name, with :port if sshd is not on 22")
	}
	return addr, port, nil
}

// AddHost takes a host in. Its key must be confirmed: without a fingerprint the
// answer is a Conflict that shows the one found.
func (s *Service) AddHost(ctx context.Context, a baadal.Actor, in baadal.HostAdd, opt baadal.ChangeOptions) (c baadal.Change[baadal.Host], err error) {
	if err := may(a, baadal.ActionHostAdd); err != nil {
		return c, err
	}
	addr, port, err := splitAddress(in.Address)
	if err != nil {
		return c, err
	}
	if in.SSHUser == "" {
		in.SSHUser = "root"
	}
	for field, name := range map[string]string{"name": in.Name, "ssh_user": in.SSHUser} {
		if name != "" {
			if err := baadal.CheckName(field, name); err != nil {
				return c, err
			}
		}
	}
	h := baadal.Host{Name: in.Name, Address: addr, SSHPort: port, SSHUser: in.SSHUser, State: baadal.HostDown, Reason: "it is being looked at"}
	if h.Name == "" {
		h.Name = addr // until its own host name is known
	}
	h.HostKey, h.Fingerprint, err = s.opt.Prober.Fingerprint(ctx, h.SSHAddr())
	if err != nil {
		return c, err
	}
	if in.Fingerprint != h.Fingerprint {
		return c, unconfirmed(in, h)
	}
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if err := first(tx.Lock("network"), forHost(tx, h.Address), tx.CreateHost(&h)); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if t, err = newTask(a, baadal.TaskHostAdd, hostSubject(h), struct{}{}); err != nil {
			return err
		}
		if err := tx.InsertTask(&t); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: hostSubject(h), Version: h.Generation, What: "created"}, map[string]any{"address": h.Address, "fingerprint": h.Fingerprint})
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Host]{Plan: &baadal.Plan{
			Summary: "pin " + h.Fingerprint + " for " + h.SSHAddr() + ", look at the host, and take it in if nothing is missing",
			Steps:   s.queue.StepNames(baadal.TaskHostAdd),
		}}, nil
	}
	if err != nil {
		return c, err
	}
	return baadal.Change[baadal.Host]{Resource: &h, Task: &t}, nil
}

// forHost refuses an address that VMs get.
func forHost(tx *store.Tx, address string) error {
	network, err := tx.NetworkWithAddress(address)
	if err != nil || network == "" {
		return err
	}
	return baadal.Errorf(baadal.Conflict, "%s is an address for VMs, of network %s", address, network).WithCode("address_in_use").WithField("address").
		WithNext("Take it away there first", "baadal network range remove "+network+" "+address)
}

func unconfirmed(in baadal.HostAdd, h baadal.Host) error {
	e := baadal.Errorf(baadal.Conflict, "the host key of %s must be confirmed", h.SSHAddr()).WithCode("fingerprint_unconfirmed").
		WithField("fingerprint").WithDetail("%s", h.Fingerprint).
		WithNext("Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then confirm it",
			"baadal host add "+in.Address+" --fingerprint "+h.Fingerprint)
	if in.Fingerprint != "" {
		e.Code, e.Title = "fingerprint_differs", "the host key of "+h.SSHAddr()+" is not the one given"
	}
	return e
}

// CheckHost looks at a host again.
func (s *Service) CheckHost(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Host], err error) {
	if err := may(a, baadal.ActionHostCheck); err != nil {
		return c, err
	}
	var h baadal.Host
	var t baadal.Task
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if h, err = tx.HostByRef(ref); err != nil {
			return err
		}
		if err := checkGeneration(opt, h.Generation); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		if t, err = newTask(a, baadal.TaskHostCheck, hostSubject(h), struct{}{}); err != nil {
			return err
		}
		return tx.InsertTask(&t)
	})
	if isDryRun(err) {
		return baadal.Change[baadal.Host]{Plan: &baadal.Plan{Summary: "look at " + h.Name, Steps: s.queue.StepNames(baadal.TaskHostCheck)}}, nil
	}
	if err != nil {
		return c, err
	}
	hostActions(a, &h)
	return baadal.Change[baadal.Host]{Resource: &h, Task: &t}, nil
}

// RemoveHost forgets a host without VMs. The loops take the rules off its
// bridges then, if it answers; nothing else on it is touched.
func (s *Service) RemoveHost(ctx context.Context, a baadal.Actor, ref string, opt baadal.ChangeOptions) (c baadal.Change[baadal.Host], err error) {
	if err := may(a, baadal.ActionHostRemove); err != nil {
		return c, err
	}
	var h baadal.Host
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if h, err = tx.HostByRef(ref); err != nil {
			return err
		}
		if err := first(checkGeneration(opt, h.Generation), removableHost(&h), bound(tx, h), free(tx, hostSubject(h))); err != nil {
			return err
		}
		if err := tx.DeleteHost(h.ID); err != nil {
			return err
		}
		if opt.DryRun {
			return errDryRun
		}
		return event(tx, a, baadal.Event{Subject: hostSubject(h), Version: h.Generation + 1, What: "deleted"}, nil)
	})
	if isDryRun(err) {
		plan := baadal.Plan{Summary: "forget " + h.Name + " and take the rules off its bridges; nothing else on it is touched"}
		if words := h.LeftBehind(); words != "" {
			plan.Effects = []string{words}
		}
		return baadal.Change[baadal.Host]{Plan: &plan}, nil
	}
	return baadal.Change[baadal.Host]{Resource: &h}, err
}

// free refuses when a task holds the subject.
func free(tx *store.Tx, s baadal.Subject) error {
	t, err := tx.ActiveTask(s)
	if err != nil {
		return err
	}
	if t != nil {
		return baadal.Errorf(baadal.Conflict, "%s is held by task %d (%s)", s.Name, t.ID, t.Kind).WithCode("busy").WithTask(t.ID)
	}
	return nil
}
