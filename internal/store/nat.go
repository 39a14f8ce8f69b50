package store

import (
	"fmt"
	"net/netip"
	"slices"

	"baadal"
)

// touchNAT begins a new revision of the NAT box's table: who brings the box in
// line wakes when the transaction is committed.
func (tx *Tx) touchNAT() (revision int64, err error) {
	err = tx.queryRow(`UPDATE nat_box SET revision = revision + 1 WHERE id = 1 RETURNING revision`).Scan(&revision)
	if err != nil {
		return 0, fmt.Errorf("begin revision of NAT table: %w", err)
	}
	tx.Wake(TopicNAT)
	return revision, nil
}

// NATState says how far the NAT box follows.
func (tx *Tx) NATState() (s baadal.NATState, err error) {
	var since int64
	err = tx.queryRow(`SELECT revision, applied, problem, since FROM nat_box WHERE id = 1`).Scan(&s.Revision, &s.Applied, &s.Problem, &since)
	if err != nil {
		return s, fmt.Errorf("read state of NAT box: %w", err)
	}
	if s.Problem != "" {
		s.Since = timeOf(since)
	}
	return s, nil
}

// SetNATState writes down that the NAT box was given a revision, or what keeps
// it from that. changed tells whether it was not known before. Idempotent.
func (tx *Tx) SetNATState(applied int64, problem string) (changed bool, err error) {
	n, err := tx.affected(`UPDATE nat_box SET applied = $1, problem = $2, since = CASE WHEN problem = '' THEN $3 ELSE since END
		WHERE id = 1 AND (applied < $4 OR problem <> $5)`, applied, problem, tx.now(), applied, problem)
	if err != nil {
		return false, fmt.Errorf("write state of NAT box: %w", err)
	}
	return n > 0, nil
}

// NATTable is all that the NAT box is to have at this moment. What deleted VMs
// had is not in it, nor what has expired.
func (tx *Tx) NATTable() (t baadal.NATTable, err error) {
	state, err := tx.NATState() // first: what comes after is at least as new
	if err != nil {
		return t, err
	}
	t.Revision = state.Revision
	settings, err := tx.SettingValues()
	if err != nil {
		return t, err
	}
	t.Ports = []baadal.PortRange{
		{First: settings.Int(baadal.SettingVNCFirst), Last: settings.Int(baadal.SettingVNCLast)},
		{First: settings.Int(baadal.SettingForwardFirst), Last: settings.Int(baadal.SettingForwardLast)},
	}
	if err := tx.natPublics(&t); err != nil {
		return t, err
	}
	return t, tx.natForwards(&t)
}

// vmIP is the private address that a VM is reached at: its first one.
const vmIP = `COALESCE((SELECT a.ip FROM addresses a WHERE a.vm_id = %s AND a.nic = 0), '')`

func (tx *Tx) natPublics(t *baadal.NATTable) error {
	rows, err := tx.query(`SELECT p.ip, ` + fmt.Sprintf(vmIP, "p.vm_id") + ` FROM public_addresses p ORDER BY p.ip_num`)
	if err != nil {
		return fmt.Errorf("read public addresses: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var public, private string
		if err := rows.Scan(&public, &private); err != nil {
			return fmt.Errorf("read public addresses: %w", err)
		}
		ip, err := netip.ParseAddr(public)
		if err != nil {
			return fmt.Errorf("read public addresses: %w", err)
		}
		t.Pool = append(t.Pool, ip)
		if to, err := netip.ParseAddr(private); err == nil {
			t.Publics = append(t.Publics, baadal.NATPublic{Public: ip, Private: to})
		}
	}
	return rows.Err()
}

func (tx *Tx) natForwards(t *baadal.NATTable) error {
	all, err := tx.forwards(`f.expires_at > $1`, tx.now())
	if err != nil {
		return err
	}
	for _, f := range all {
		to, masked := f.Address, false
		if f.Target != "" {
			to, masked = f.Target, true
		}
		ip, err := netip.ParseAddr(to)
		if err != nil || !ip.Is4() { // a VM without an address; a target that the box would refuse all for
			continue
		}
		t.Forwards = append(t.Forwards, baadal.NATForward{
			Protocol: f.Protocol, PublicPort: f.PublicPort, Target: netip.AddrPortFrom(ip, uint16(f.Port)), Masked: masked, Expires: f.ExpiresAt, //nolint:gosec // a port
		})
		t.Ports = append(t.Ports, baadal.PortRange{First: f.PublicPort, Last: f.PublicPort})
	}
	t.Ports = mergePorts(t.Ports)
	return nil
}

// mergePorts sorts ranges and joins those that touch.
func mergePorts(all []baadal.PortRange) (merged []baadal.PortRange) {
	slices.SortFunc(all, func(a, b baadal.PortRange) int { return a.First - b.First })
	for _, r := range all {
		switch n := len(merged); {
		case r.First > r.Last:
		case n > 0 && r.First <= merged[n-1].Last+1:
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		default:
			merged = append(merged, r)
		}
	}
	return merged
}
