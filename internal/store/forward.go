package store

import (
	"encoding/json"
	"fmt"
	"time"

	"baadal"
)

// A row of forwards is a port of the NAT box's own public address that leads to
// an address and port inside until it expires. All rows are rendered into the
// box's table, whoever made them (natForwards): to lead a public port to
// something that is no VM, AddForward a row with the Service's name and with
// Target, say a controller's address. The box then hides who connects behind
// itself, because such a target has no way back through it. The same functions
// extend and end it (ExtendForward, EndForward, or EndForwards by service), the
// kernel of the box ends it at ExpiresAt whether a controller lives or not, and
// when the VM is deleted it ends too. People see and end rows of the service
// ForwardPort only.

func forwardColumns() string {
	return `f.id, f.vm_id, v.name, f.generation, f.service, f.protocol, f.public_port, f.target, ` + fmt.Sprintf(vmIP, "f.vm_id") + `, f.port,
	f.expires_at, f.created_at, f.created_by, u.username, v.owner_id, v.organisation_id,
	CASE WHEN f.revision <= (SELECT applied FROM nat_box WHERE id = 1) THEN 1 ELSE 0 END`
}

const forwardJoins = ` JOIN vms v ON v.id = f.vm_id JOIN users u ON u.id = f.created_by`

func scanForward(r row) (f baadal.Forward, err error) {
	var expires, created int64
	err = r.Scan(&f.ID, &f.VMID, &f.VM, &f.Generation, &f.Service, &f.Protocol, &f.PublicPort, &f.Target, &f.Address, &f.Port,
		&expires, &created, &f.ByID, &f.By, &f.OwnerID, &f.OrganisationID, &f.Applied)
	f.ExpiresAt, f.CreatedAt = timeOf(expires), timeOf(created)
	return f, err
}

func (tx *Tx) forwards(where string, args ...any) ([]baadal.Forward, error) {
	all, err := collect(tx, scanForward, `SELECT `+forwardColumns()+` FROM forwards f`+forwardJoins+` WHERE `+where+` ORDER BY f.expires_at, f.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("read port mappings: %w", err)
	}
	return all, nil
}

// AddForward stores a mapping and fills in id, generation and time. Without a
// PublicPort it gets a free one between first and last, the one above the
// highest in use if there is one; none left is Exhausted. A public port that is
// taken, or a second mapping of the same port by the same service, is a Conflict.
func (tx *Tx) AddForward(f *baadal.Forward, first, last int) error {
	if err := tx.Lock("forwards"); err != nil {
		return err
	}
	if _, err := tx.ExpireForwards(); err != nil { // they hold ports
		return err
	}
	if f.PublicPort == 0 {
		port, err := tx.freeForwardPort(f.Protocol, first, last)
		if err != nil {
			return err
		}
		f.PublicPort = port
	}
	revision, err := tx.touchNAT()
	if err != nil {
		return err
	}
	f.ID, err = tx.insert(`INSERT INTO forwards (vm_id, service, protocol, public_port, target, port, expires_at, created_at, created_by, revision)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id`,
		f.VMID, string(f.Service), string(f.Protocol), f.PublicPort, f.Target, f.Port, ms(f.ExpiresAt), tx.now(), f.ByID, revision)
	switch violated(err) {
	case "forwards_protocol_public_port":
		return baadal.Errorf(baadal.Conflict, "port %d of the NAT box is taken", f.PublicPort).WithCode("port_taken").WithField("public_port").
			WithNext("Leave the choice to Baadal: give no public port", "")
	case "forwards_vm_id_service_protocol_port":
		return baadal.Errorf(baadal.Conflict, "port %s has a mapping already", f.Name()).WithCode("exists").WithField("port").
			WithNext("See it", "baadal vm forward list").WithNext("Extend it", "baadal vm forward extend NAME "+f.Name()+" --for 4h")
	}
	if err != nil {
		return fmt.Errorf("add port mapping: %w", err)
	}
	f.Generation, f.CreatedAt = 1, tx.at
	return nil
}

func (tx *Tx) freeForwardPort(p baadal.Protocol, first, last int) (int, error) {
	used := map[int]bool{}
	ports, err := collect(tx, func(r row) (n int, err error) { return n, r.Scan(&n) },
		`SELECT public_port FROM forwards WHERE protocol = $1 AND public_port BETWEEN $2 AND $3`, string(p), first, last)
	if err != nil {
		return 0, fmt.Errorf("read ports in use: %w", err)
	}
	highest := first - 1
	for _, n := range ports {
		used[n], highest = true, max(highest, n)
	}
	if highest < last { // one that was just given back is not at once somebody else's
		return highest + 1, nil
	}
	for n := first; n <= last; n++ {
		if !used[n] {
			return n, nil
		}
	}
	return 0, baadal.Errorf(baadal.Exhausted, "all ports of the NAT box for mappings are in use").WithCode("no_port").
		WithDetail("%d to %d are set", first, last).WithNext("Widen the range", "baadal setting set "+baadal.SettingForwardLast+" PORT")
}

// Forward returns a mapping of a service; one that has expired is NotFound.
func (tx *Tx) Forward(id int64, service baadal.ForwardService) (baadal.Forward, error) {
	all, err := tx.forwards(`f.id = $1 AND f.service = $2 AND f.expires_at > $3`, id, string(service), tx.now())
	if err != nil {
		return baadal.Forward{}, err
	}
	if len(all) == 0 {
		return baadal.Forward{}, missing("port mapping", id)
	}
	return all[0], nil
}

// VMForwards returns a VM's mappings of a service that have not expired, the
// next to end first.
func (tx *Tx) VMForwards(vmID int64, service baadal.ForwardService) ([]baadal.Forward, error) {
	return tx.forwards(`f.vm_id = $1 AND f.service = $2 AND f.expires_at > $3`, vmID, string(service), tx.now())
}

// CountForwards counts a VM's mappings of a service that have not expired.
func (tx *Tx) CountForwards(vmID int64, service baadal.ForwardService) (int, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM forwards f WHERE f.vm_id = $1 AND f.service = $2 AND f.expires_at > $3`, vmID, string(service), tx.now())
	if err != nil {
		return 0, fmt.Errorf("count port mappings: %w", err)
	}
	return n, nil
}

// Forwards returns all mappings of a service that have not expired and that
// somebody may see, the next to end first.
func (tx *Tx) Forwards(service baadal.ForwardService, vis baadal.Visibility) ([]baadal.Forward, error) {
	see := visible(vis, "v.organisation_id", "v.owner_id", "v.requester_id")
	return tx.forwards(number(see.sql+` AND f.service = ? AND f.expires_at > ?`), append(see.args, string(service), tx.now())...)
}

// ExtendForward gives a mapping another end, if its generation is still the
// current one, and raises it in f.
func (tx *Tx) ExtendForward(f *baadal.Forward, until time.Time) error {
	revision, err := tx.touchNAT()
	if err != nil {
		return err
	}
	n, err := tx.affected(`UPDATE forwards SET expires_at = $1, revision = $2, generation = generation + 1 WHERE id = $3 AND generation = $4`,
		ms(until), revision, f.ID, f.Generation)
	if err != nil {
		return fmt.Errorf("extend port mapping: %w", err)
	}
	if n == 0 {
		return tx.stale("forwards", "port mapping", f.ID, f.Generation)
	}
	f.ExpiresAt, f.Generation = timeOf(ms(until)), f.Generation+1
	return nil
}

// EndForward ends a mapping at once. Idempotent.
func (tx *Tx) EndForward(id int64) error {
	return tx.dropForwards(`id = $1`, id)
}

// EndForwards ends all mappings of a service to a VM. Idempotent.
func (tx *Tx) EndForwards(service baadal.ForwardService, vmID int64) error {
	return tx.dropForwards(`service = $1 AND vm_id = $2`, string(service), vmID)
}

func (tx *Tx) endForwards(vmID int64) error { return tx.dropForwards(`vm_id = $1`, vmID) }

func (tx *Tx) dropForwards(where string, args ...any) error {
	n, err := tx.affected(`DELETE FROM forwards WHERE `+where, args...)
	if err != nil {
		return fmt.Errorf("end port mappings: %w", err)
	}
	if n > 0 {
		_, err = tx.touchNAT()
	}
	return err
}

// ForwardsDue reports whether any mapping's time is over.
func (tx *Tx) ForwardsDue() (bool, error) {
	n, err := tx.count(`SELECT COUNT(*) FROM forwards WHERE expires_at <= $1`, tx.now())
	if err != nil {
		return false, fmt.Errorf("count port mappings that are over: %w", err)
	}
	return n > 0, nil
}

// ExpireForwards forgets the mappings whose time is over, with a line of history
// each, and returns them. The NAT box has ended them by itself, so there is no new
// revision.
func (tx *Tx) ExpireForwards() ([]baadal.Forward, error) {
	over, err := tx.forwards(`f.expires_at <= $1`, tx.now())
	if err != nil || len(over) == 0 {
		return nil, err
	}
	if _, err := tx.exec(`DELETE FROM forwards WHERE expires_at <= $1`, tx.now()); err != nil {
		return nil, fmt.Errorf("forget port mappings that are over: %w", err)
	}
	for _, f := range over {
		if err := tx.noteExpired(f); err != nil {
			return nil, err
		}
	}
	return over, nil
}

func (tx *Tx) noteExpired(f baadal.Forward) error {
	vm, err := tx.VM(f.VMID)
	if err != nil {
		return err
	}
	changes, err := json.Marshal(map[string]any{"port": f.Name(), "public_port": f.PublicPort, "service": f.Service})
	if err != nil {
		return err
	}
	system := baadal.System().User
	_, err = tx.AddEvent(baadal.Event{
		Topic: "vm", Subject: baadal.Subject{Kind: "vm", ID: vm.ID, Name: vm.Name}, Version: vm.Generation, What: "port mapping expired",
		ActorID: system.ID, Actor: system.Username, OwnerID: vm.OwnerID, OrganisationID: vm.OrganisationID, Changes: changes,
	})
	return err
}
