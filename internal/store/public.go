package store

import (
	"database/sql"
	"fmt"
	"net/netip"
	"strings"

	"baadal"
)

func publicColumns() string {
	return `p.id, p.ip, p.vm_id, COALESCE(v.name, ''), COALESCE(u.username, ''), ` + fmt.Sprintf(vmIP, "p.vm_id") + `, COALESCE(k.name, ''),
	CASE WHEN p.revision <= (SELECT applied FROM nat_box WHERE id = 1) THEN 1 ELSE 0 END`
}

const publicJoins = ` LEFT JOIN vms v ON v.id = p.vm_id LEFT JOIN users u ON u.id = v.owner_id LEFT JOIN vms k ON k.id = p.kept_for`

func scanPublic(r row) (p baadal.PublicAddress, err error) {
	var vm sql.NullInt64
	err = r.Scan(&p.ID, &p.IP, &vm, &p.VM, &p.Owner, &p.Address, &p.KeptFor, &p.Applied)
	p.VMID = vm.Int64
	return p, err
}

// PublicsIn counts the addresses of a subnet that are in the pool.
func (tx *Tx) PublicsIn(p netip.Prefix) (int, error) {
	first := int64(baadal.NumberOf(p.Masked().Addr()))
	n, err := tx.count(`SELECT COUNT(*) FROM public_addresses WHERE ip_num BETWEEN $1 AND $2`, first, first+int64(1)<<(32-p.Bits())-1)
	if err != nil {
		return 0, fmt.Errorf("count public addresses: %w", err)
	}
	return n, nil
}

// AddPublics puts addresses into the pool. One that is in it is a Conflict.
func (tx *Tx) AddPublics(first, last netip.Addr) (n int, err error) {
	revision, err := tx.touchNAT()
	if err != nil {
		return 0, err
	}
	for num := baadal.NumberOf(first); ; num++ {
		ip := baadal.AddrOf(num)
		_, err := tx.exec(`INSERT INTO public_addresses (ip, ip_num, revision) VALUES ($1, $2, $3)`, ip.String(), int64(num), revision)
		if violated(err) == "public_addresses_ip" {
			return 0, exists("range", "%s is in the pool of public addresses already", ip)
		}
		if err != nil {
			return 0, fmt.Errorf("add public address: %w", err)
		}
		n++
		if ip == last {
			return n, nil
		}
	}
}

// RemovePublics takes the addresses of a range out of the pool. One that a VM
// has makes it a Conflict that names who; a range without any is NotFound.
func (tx *Tx) RemovePublics(first, last netip.Addr) (int, error) {
	if err := tx.Lock("public addresses"); err != nil {
		return 0, err
	}
	from, to := int64(baadal.NumberOf(first)), int64(baadal.NumberOf(last))
	used, err := tx.publics(`p.ip_num BETWEEN $1 AND $2 AND p.vm_id IS NOT NULL`, from, to)
	if err != nil {
		return 0, err
	}
	if len(used) > 0 {
		var who []string
		for i, p := range used {
			if i == 10 {
				who = append(who, fmt.Sprintf("and %d more", len(used)-i))
				break
			}
			who = append(who, fmt.Sprintf("%s (%s's %s)", p.IP, p.Owner, p.VM))
		}
		e := baadal.Errorf(baadal.Conflict, "%d of these addresses are in use: %s", len(used), strings.Join(who, ", ")).WithCode("public_in_use").WithField("range")
		return 0, e.WithNext("Take it from its VM first", "baadal vm edit "+used[0].VM+" --no-public")
	}
	n, err := tx.affected(`DELETE FROM public_addresses WHERE ip_num BETWEEN $1 AND $2`, from, to)
	if err != nil {
		return 0, fmt.Errorf("remove public addresses: %w", err)
	}
	if n == 0 {
		return 0, baadal.Errorf(baadal.NotFound, "no address from %s to %s is in the pool of public addresses", first, last)
	}
	_, err = tx.touchNAT()
	return n, err
}

// Publics lists the pool.
func (tx *Tx) Publics(q baadal.ListQuery) (baadal.List[baadal.PublicAddress], error) {
	return listRows(tx, listSpec{
		noun: "public addresses", table: "public_addresses p", id: "p.id", columns: publicColumns(), joins: publicJoins,
		keys: map[string]filterKey{
			"ip": equals("p.ip"), "free": truth("CASE WHEN p.vm_id IS NULL THEN 1 ELSE 0 END"),
			"vm":    ofVM(`SELECT id FROM vms WHERE lower(name) = lower(?)`),
			"owner": ofVM(`SELECT o.id FROM vms o JOIN users u ON u.id = o.owner_id WHERE lower(u.username) = lower(?)`),
		},
		words: is(`(p.vm_id IN (SELECT id FROM vms WHERE lower(name) LIKE ? ESCAPE '\') OR p.ip LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{"id": {expr: "p.id", number: true}, "ip": {expr: "p.ip_num", number: true}},
		sort:  "ip",
	}, q, scanPublic)
}

// ofVM is a key whose value chooses VMs.
func ofVM(ids string) filterKey {
	return func(v string) (cond, error) { return is(`p.vm_id IN (`+ids+`)`, v), nil }
}

func (tx *Tx) publics(where string, args ...any) ([]baadal.PublicAddress, error) {
	all, err := collect(tx, scanPublic, `SELECT `+publicColumns()+` FROM public_addresses p`+publicJoins+` WHERE `+where+` ORDER BY p.ip_num`, args...)
	if err != nil {
		return nil, fmt.Errorf("read public addresses: %w", err)
	}
	return all, nil
}

// ClaimPublic gives a VM a public address: the one that is kept for it, else
// the lowest that is kept for nobody, else the lowest that is free. None left
// is Exhausted; one that it has it keeps.
func (tx *Tx) ClaimPublic(vmID int64) (ip string, err error) {
	if err := tx.Lock("public addresses"); err != nil {
		return "", err
	}
	err = tx.queryRow(`SELECT ip FROM public_addresses WHERE vm_id = $1`, vmID).Scan(&ip)
	if err == nil {
		return ip, nil
	}
	if !isNoRows(err) {
		return "", fmt.Errorf("read public address: %w", err)
	}
	var id int64
	err = tx.queryRow(`SELECT id, ip FROM public_addresses WHERE vm_id IS NULL
		ORDER BY CASE WHEN kept_for = $1 THEN 0 WHEN kept_for IS NULL THEN 1 ELSE 2 END, ip_num LIMIT 1`, vmID).Scan(&id, &ip)
	if isNoRows(err) {
		return "", baadal.Errorf(baadal.Exhausted, "there is no free public address").WithCode("no_public_address").WithField("public").
			WithNext("See who has them", "baadal public list").WithNext("Put more into the pool", "baadal public add FIRST-LAST")
	}
	if err != nil {
		return "", fmt.Errorf("find free public address: %w", err)
	}
	return ip, tx.givePublic(`vm_id = $1, kept_for = NULL`, `id = $3`, vmID, id)
}

// givePublic changes who has an address, in a new revision of the table.
func (tx *Tx) givePublic(set, where string, vm any, id int64) error {
	revision, err := tx.touchNAT()
	if err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE public_addresses SET `+set+`, revision = $2 WHERE `+where, vm, revision, id); err != nil {
		return fmt.Errorf("change owner of public address: %w", err)
	}
	return nil
}

// ReclaimPublic gives a VM that is restored its public address again, if it had
// one and nobody else has it by now.
func (tx *Tx) ReclaimPublic(vmID int64) error {
	if err := tx.Lock("public addresses"); err != nil {
		return err
	}
	n, err := tx.count(`SELECT COUNT(*) FROM public_addresses WHERE kept_for = $1 AND vm_id IS NULL`, vmID)
	if err != nil || n == 0 {
		return err
	}
	_, err = tx.ClaimPublic(vmID)
	return err
}

// ReleasePublic gives a VM's public address back. keep says that the VM gets it
// again if nobody needs it before it is restored. Idempotent.
func (tx *Tx) ReleasePublic(vmID int64, keep bool) error {
	n, err := tx.count(`SELECT COUNT(*) FROM public_addresses WHERE vm_id = $1`, vmID)
	if err != nil || n == 0 {
		return err
	}
	kept := int64(0)
	if keep {
		kept = vmID
	}
	return tx.givePublic(`vm_id = NULL, kept_for = $1`, `vm_id = $3`, idOrNull(kept), vmID)
}

// leaveNAT takes a VM out of the NAT box's table; keep as in ReleasePublic.
func (tx *Tx) leaveNAT(vmID int64, keep bool) error {
	if err := tx.ReleasePublic(vmID, keep); err != nil {
		return err
	}
	if !keep {
		if _, err := tx.exec(`UPDATE public_addresses SET kept_for = NULL WHERE kept_for = $1`, vmID); err != nil {
			return fmt.Errorf("forget who had a public address: %w", err)
		}
	}
	return tx.endForwards(vmID)
}

// LeaveNAT takes a deleted VM out of the NAT box's table: its mappings end, and
// its public address is kept for it as long as nobody needs it. Idempotent.
func (tx *Tx) LeaveNAT(vmID int64) error { return tx.leaveNAT(vmID, true) }
