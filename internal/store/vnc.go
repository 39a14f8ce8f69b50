package store

import (
	"fmt"
	"strings"
	"time"

	"baadal"
)

// TopicVNC wakes who listens for VNC clients.
const TopicVNC = "vnc"

const (
	vncColumns = `g.id, g.vm_id, v.name, g.generation, g.controller, COALESCE(p.port, 0), g.created_at, g.expires_at, g.open, g.held_until, g.problem, u.username, g.user_id, g.password`
	vncTables  = ` FROM vnc_grants g JOIN vms v ON v.id = g.vm_id JOIN users u ON u.id = g.user_id LEFT JOIN vnc_ports p ON p.vm_id = g.vm_id`
)

// scanVNC scans a grant with its password.
func (tx *Tx) scanVNC(r row) (g baadal.VNCGrant, err error) {
	var created, expires, held int64
	err = r.Scan(&g.ID, &g.VMID, &g.VM, &g.Generation, &g.Controller, &g.Port, &created, &expires, &g.Open, &held, &g.Problem, &g.By, &g.ByID, &g.Password)
	g.CreatedAt, g.ExpiresAt = timeOf(created), timeOf(expires)
	g.SecondsTo = int64(g.ExpiresAt.Sub(tx.at).Seconds())
	g.Open = g.Open && held > tx.now()
	return g, err
}

// AddVNCGrant stores a grant with its password, held by its controller until
// then, and fills in its id, and its time if it has none. One that lives is a Conflict (code
// vnc_granted); more than perDay in 24 hours are TooMany (code vnc_limit).
func (tx *Tx) AddVNCGrant(g *baadal.VNCGrant, held time.Time, perDay int) error {
	if err := tx.Lock(fmt.Sprintf("vnc grants %d", g.VMID)); err != nil {
		return err
	}
	if _, err := tx.endVNC(`vm_id = $2 AND expires_at <= $3`, g.VMID, tx.now()); err != nil {
		return err
	}
	day := ms(tx.at.Add(-24 * time.Hour))
	if _, err := tx.exec(`DELETE FROM vnc_grants WHERE vm_id = $1 AND created_at <= $2 AND ended_at IS NOT NULL`, g.VMID, day); err != nil {
		return fmt.Errorf("forget old VNC grants: %w", err)
	}
	n, err := tx.count(`SELECT COUNT(*) FROM vnc_grants WHERE vm_id = $1 AND created_at > $2`, g.VMID, day)
	if err != nil {
		return fmt.Errorf("count VNC grants: %w", err)
	}
	if n >= perDay {
		return baadal.Errorf(baadal.TooMany, "%s had its VNC grants of this day", g.VM).WithCode("vnc_limit").
			WithDetail("%d in 24 hours are possible (setting %s)", perDay, baadal.SettingVNCPerDay).WithNext("Look at it through your own computer", "baadal vm vnc "+g.VM)
	}
	if g.CreatedAt.IsZero() {
		g.CreatedAt = tx.at
	}
	g.ID, err = tx.insert(`INSERT INTO vnc_grants (vm_id, user_id, password, controller, held_until, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
		g.VMID, g.ByID, g.Password, g.Controller, ms(held), ms(g.CreatedAt), ms(g.ExpiresAt))
	switch {
	case violated(err) == "vnc_grants_vm_id":
		return baadal.Errorf(baadal.Conflict, "%s has a VNC grant already", g.VM).WithCode("vnc_granted").
			WithNext("Have it last longer", "baadal vm vnc extend "+g.VM).WithNext("End it", "baadal vm vnc end "+g.VM)
	case err != nil:
		return fmt.Errorf("add VNC grant: %w", err)
	}
	tx.Wake(TopicVNC)
	return nil
}

// VNCGrant returns a VM's grant that lives; NotFound (code no_vnc_grant) if it
// has none.
func (tx *Tx) VNCGrant(vmID int64) (baadal.VNCGrant, error) {
	return tx.oneVNC("g.vm_id = $1", vmID)
}

// VNCGrantByID returns a grant that lives.
func (tx *Tx) VNCGrantByID(id int64) (baadal.VNCGrant, error) { return tx.oneVNC("g.id = $1", id) }

func (tx *Tx) oneVNC(where string, arg int64) (baadal.VNCGrant, error) {
	g, err := tx.scanVNC(tx.queryRow(`SELECT `+vncColumns+vncTables+` WHERE `+where+` AND g.ended_at IS NULL AND g.expires_at > $2`, arg, tx.now()))
	if isNoRows(err) {
		return g, baadal.Errorf(baadal.NotFound, "there is no VNC grant").WithCode("no_vnc_grant")
	}
	if err != nil {
		return g, fmt.Errorf("read VNC grant: %w", err)
	}
	return g, nil
}

// VNCGrants returns the grants that live of the VMs that somebody may see, with
// their passwords, the first to end first.
func (tx *Tx) VNCGrants(vis baadal.Visibility) ([]baadal.VNCGrant, error) {
	see := visible(vis, "v.organisation_id", "v.owner_id", "v.requester_id")
	all, err := collect(tx, tx.scanVNC, number(`SELECT `+vncColumns+vncTables+` WHERE `+see.sql+` AND g.ended_at IS NULL AND g.expires_at > ? ORDER BY g.expires_at, g.id`),
		append(see.args, tx.now())...)
	if err != nil {
		return nil, fmt.Errorf("read VNC grants: %w", err)
	}
	return all, nil
}

// ExtendVNCGrant sets when a grant ends.
func (tx *Tx) ExtendVNCGrant(id int64, end time.Time) error {
	if _, err := tx.exec(`UPDATE vnc_grants SET expires_at = $1, generation = generation + 1 WHERE id = $2 AND ended_at IS NULL`, ms(end), id); err != nil {
		return fmt.Errorf("extend VNC grant: %w", err)
	}
	tx.Wake(TopicVNC)
	return nil
}

// EndVNCGrants ends the grant of a VM, if one lives, and says whether.
func (tx *Tx) EndVNCGrants(vmID int64) (bool, error) {
	n, err := tx.endVNC(`vm_id = $2`, vmID)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.EndForwards(baadal.ForwardVNC, vmID)
}

// VNCGrantsDue counts the grants whose time is over and that nobody has ended.
func (tx *Tx) VNCGrantsDue() (int, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM vnc_grants WHERE ended_at IS NULL AND expires_at <= $1`, tx.now())
	if err != nil {
		return 0, fmt.Errorf("count VNC grants: %w", err)
	}
	return n, nil
}

// EndVNCGrantsDue ends what is over and forgets its passwords; it says how many.
func (tx *Tx) EndVNCGrantsDue() (int, error) { return tx.endVNC(`expires_at <= $2`, tx.now()) }

func (tx *Tx) endVNC(where string, args ...any) (int, error) {
	n, err := tx.affected(`UPDATE vnc_grants SET ended_at = $1, password = '', open = 0, problem = '', generation = generation + 1 WHERE ended_at IS NULL AND `+where,
		append([]any{tx.now()}, args...)...)
	if err != nil {
		return 0, fmt.Errorf("end VNC grants: %w", err)
	}
	if n > 0 {
		tx.Wake(TopicVNC)
	}
	return n, nil
}

// HoldVNCGrant claims to be the one who listens for the clients of a grant,
// until then, again and again. It is false if another controller does.
func (tx *Tx) HoldVNCGrant(id int64, controller string, until time.Time) (bool, error) {
	n, err := tx.affected(`UPDATE vnc_grants SET controller = $1, held_until = $2 WHERE id = $3 AND ended_at IS NULL AND (controller = $1 OR held_until <= $4)`,
		controller, ms(until), id, tx.now())
	if err != nil {
		return false, fmt.Errorf("hold VNC grant: %w", err)
	}
	if n == 0 {
		return false, nil
	}
	return true, tx.leadVNC(id, controller)
}

// leadVNC has the NAT box, if it leads the grant's clients, lead them to this
// controller.
func (tx *Tx) leadVNC(id int64, controller string) error {
	const elsewhere = `service = 'vnc' AND vm_id = (SELECT vm_id FROM vnc_grants WHERE id = $1) AND target <> $2`
	n, err := tx.count(`SELECT COUNT(*) FROM forwards WHERE `+elsewhere, id, controller)
	if err != nil || n == 0 {
		return err
	}
	revision, err := tx.touchNAT()
	if err != nil {
		return err
	}
	if _, err := tx.exec(`UPDATE forwards SET target = $2, revision = $3, generation = generation + 1 WHERE `+elsewhere, id, controller, revision); err != nil {
		return fmt.Errorf("lead VNC clients to another controller: %w", err)
	}
	return nil
}

// SetVNCOpen notes whether the clients of a grant that the controller holds can
// connect, and if not, why.
func (tx *Tx) SetVNCOpen(id int64, controller, problem string) error {
	_, err := tx.exec(`UPDATE vnc_grants SET open = $1, problem = $2, generation = generation + 1
		WHERE id = $3 AND controller = $4 AND ended_at IS NULL AND (open <> $1 OR problem <> $2)`, flag(problem == ""), strings.ToValidUTF8(problem, "?"), id, controller)
	if err != nil {
		return fmt.Errorf("note VNC grant: %w", err)
	}
	return nil
}
