package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"baadal"
)

// seenEvery is how exactly the last sight of a host is kept, so that a quiet
// cloud does not write to its database all the time.
const seenEvery = time.Minute

const hostFields = `h.id, h.name, h.generation, h.address, h.ssh_port, h.ssh_user, h.host_key, h.fingerprint, h.state, h.reason, h.state_since,
	h.last_seen, h.facts, h.created_at, h.updated_at`

// What is claimed on a host is always the sum over its VMs and those that are
// on their way to it: one by one for a few hosts, in one sweep for all.
const (
	// A VM claims the larger of what it is to have and what it still runs with.
	claimedVCPUs = `CASE WHEN v.live_vcpus > v.vcpus THEN v.live_vcpus ELSE v.vcpus END`
	claimedRAM   = `CASE WHEN v.live_ram_mib > v.ram_mib THEN v.live_ram_mib ELSE v.ram_mib END`

	hostColumns = hostFields + `, (SELECT COUNT(*) FROM vms v WHERE v.host_id = h.id AND v.state <> 5),
	(SELECT COALESCE(SUM(` + claimedVCPUs + `), 0) FROM vms v WHERE v.host_id = h.id AND v.state <> 5) +
		(SELECT COALESCE(SUM(` + claimedVCPUs + `), 0) FROM vms v WHERE v.target_host_id = h.id),
	(SELECT COALESCE(SUM(` + claimedRAM + `), 0) FROM vms v WHERE v.host_id = h.id AND v.state <> 5) +
		(SELECT COALESCE(SUM(` + claimedRAM + `), 0) FROM vms v WHERE v.target_host_id = h.id)`
	allHosts = `SELECT ` + hostFields + `, COALESCE(c.n, 0), COALESCE(c.vcpus, 0) + COALESCE(t.vcpus, 0),
	COALESCE(c.ram_mib, 0) + COALESCE(t.ram_mib, 0) FROM hosts h
	LEFT JOIN (SELECT v.host_id, COUNT(*) AS n, SUM(` + claimedVCPUs + `) AS vcpus, SUM(` + claimedRAM + `) AS ram_mib FROM vms v WHERE v.state <> 5 GROUP BY v.host_id) c
	ON c.host_id = h.id
	LEFT JOIN (SELECT v.target_host_id, SUM(` + claimedVCPUs + `) AS vcpus, SUM(` + claimedRAM + `) AS ram_mib FROM vms v WHERE v.target_host_id IS NOT NULL
	GROUP BY v.target_host_id) t ON t.target_host_id = h.id ORDER BY h.name`
)

func (tx *Tx) scanHost(r row) (h baadal.Host, err error) {
	var since, created, updated int64
	var seen sql.NullInt64
	var facts string
	err = r.Scan(&h.ID, &h.Name, &h.Generation, &h.Address, &h.SSHPort, &h.SSHUser, &h.HostKey, &h.Fingerprint, &h.State, &h.Reason, &since,
		&seen, &facts, &created, &updated, &h.VMs, &h.ClaimedVCPUs, &h.ClaimedRAMMiB)
	if err != nil {
		return h, err
	}
	h.StateSince, h.LastSeen, h.CreatedAt, h.UpdatedAt = timeOf(since), timePtr(seen), timeOf(created), timeOf(updated)
	if h.HostFacts, err = tx.db.facts.decode(facts); err != nil {
		return h, fmt.Errorf("decode facts of host %s: %w", h.Name, err)
	}
	return h, nil
}

// factsCache remembers decoded facts by their text: placement reads those of
// all hosts for every new VM, and they hardly ever change.
type factsCache struct {
	mu      sync.Mutex
	decoded map[string]baadal.HostFacts
}

// factsKept is how many facts are remembered before all are forgotten.
const factsKept = 4096

func (c *factsCache) decode(text string) (baadal.HostFacts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.decoded[text]
	if !ok {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return f, err
		}
		if len(c.decoded) >= factsKept || c.decoded == nil {
			c.decoded = map[string]baadal.HostFacts{}
		}
		c.decoded[text] = f
	}
	f.Checks = slices.Clone(f.Checks)
	return f, nil
}

// CreateHost stores a new host and fills in id, generation and times. A name
// or an address that is taken is a Conflict.
func (tx *Tx) CreateHost(h *baadal.Host) error {
	facts, err := json.Marshal(h.HostFacts)
	if err != nil {
		return fmt.Errorf("encode facts: %w", err)
	}
	h.Generation, h.CreatedAt, h.UpdatedAt, h.StateSince = 1, tx.at, tx.at, tx.at
	h.ID, err = tx.insert(`INSERT INTO hosts (name, address, ssh_port, ssh_user, host_key, fingerprint, state, reason, state_since, last_seen,
		facts, cpus, ram_mib, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id`,
		h.Name, h.Address, h.SSHPort, h.SSHUser, h.HostKey, h.Fingerprint, int(h.State), h.Reason, tx.now(), msPtr(h.LastSeen),
		string(facts), h.CPUs, h.RAMMiB, tx.now(), tx.now())
	return hostError("create host", h, err)
}

func hostError(operation string, h *baadal.Host, err error) error {
	switch violated(err) {
	case "hosts_name":
		return exists("name", "there is a host %q already", h.Name)
	case "hosts_address_ssh_port":
		return exists("address", "there is a host with the address %s already", h.SSHAddr())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// Host returns a host by id.
func (tx *Tx) Host(id int64) (baadal.Host, error) { return tx.host(id, "h.id = $1", id) }

// HostByRef returns a host by id or name.
func (tx *Tx) HostByRef(ref string) (baadal.Host, error) {
	if id := refID(ref); id != 0 {
		if h, err := tx.Host(id); baadal.KindOf(err) != baadal.NotFound {
			return h, err
		}
	}
	return tx.host(ref, "h.name = $1", ref)
}

func (tx *Tx) host(ref any, where string, arg any) (baadal.Host, error) {
	h, err := tx.scanHost(tx.queryRow(`SELECT `+hostColumns+` FROM hosts h WHERE `+where, arg))
	if err != nil {
		return h, notFound(err, "host", ref)
	}
	return h, nil
}

// Hosts lists hosts.
func (tx *Tx) Hosts(q baadal.ListQuery) (baadal.List[baadal.Host], error) {
	return listRows(tx, listSpec{
		noun: "hosts", table: "hosts h", id: "h.id", columns: hostColumns,
		keys: map[string]filterKey{
			"state": stateKey("h.state", []baadal.HostState{baadal.HostUp, baadal.HostDown, baadal.HostMaintenance}),
			"name":  equalsFold("h.name"), "address": equals("h.address"),
		},
		words: is(`(lower(h.name) LIKE ? ESCAPE '\' OR lower(h.address) LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{
			"id": {expr: "h.id", number: true}, "name": {expr: "h.name"}, "state": {expr: "h.state", number: true}, "address": {expr: "h.address"},
			"cpus": {expr: "h.cpus", number: true}, "ram_mib": {expr: "h.ram_mib", number: true}, "created_at": {expr: "h.created_at", number: true},
		},
		sort:   "name",
		facets: map[string]facet{"state": stateFacet[baadal.HostState]("h.state")},
	}, q, tx.scanHost)
}

// AllHosts returns every host by name.
func (tx *Tx) AllHosts() ([]baadal.Host, error) {
	all, err := collect(tx, tx.scanHost, allHosts)
	if err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	return all, nil
}

// UpdateHost stores everything of a host that is not counted, if its
// generation is still the current one, and raises it in h.
func (tx *Tx) UpdateHost(h *baadal.Host) error {
	facts, err := json.Marshal(h.HostFacts)
	if err != nil {
		return fmt.Errorf("encode facts: %w", err)
	}
	var since int64
	err = tx.queryRow(`UPDATE hosts SET name = $1, address = $2, ssh_port = $3, ssh_user = $4, host_key = $5, fingerprint = $6,
		state_since = CASE WHEN state = $7 THEN state_since ELSE $8 END, state = $9, reason = $10, last_seen = $11, facts = $12, cpus = $13,
		ram_mib = $14, updated_at = $15, generation = generation + 1 WHERE id = $16 AND generation = $17 RETURNING generation, state_since`,
		h.Name, h.Address, h.SSHPort, h.SSHUser, h.HostKey, h.Fingerprint,
		int(h.State), tx.now(), int(h.State), h.Reason, msPtr(h.LastSeen), string(facts), h.CPUs,
		h.RAMMiB, tx.now(), h.ID, h.Generation).Scan(&h.Generation, &since)
	if isNoRows(err) {
		return tx.stale("hosts", "host", h.ID, h.Generation)
	}
	if err != nil {
		return hostError("update host", h, err)
	}
	h.StateSince, h.UpdatedAt = timeOf(since), tx.at
	return nil
}

// SetHostState notes what was seen of a host. changed tells whether its state
// or the reason for it is another than before; only then its generation rises.
// seen means that it answered just now.
func (tx *Tx) SetHostState(id int64, state baadal.HostState, reason string, seen bool) (changed bool, err error) {
	var before baadal.HostState
	var why string
	var last sql.NullInt64
	err = tx.queryRow(`SELECT state, reason, last_seen FROM hosts WHERE id = $1`+tx.forUpdate(), id).Scan(&before, &why, &last)
	if err != nil {
		return false, notFound(err, "host", id)
	}
	if state != before || reason != why {
		_, err = tx.exec(`UPDATE hosts SET state_since = CASE WHEN state = $1 THEN state_since ELSE $2 END, state = $3, reason = $4, updated_at = $5,
			generation = generation + 1 WHERE id = $6`, int(state), tx.now(), int(state), reason, tx.now(), id)
		if err != nil {
			return false, fmt.Errorf("set host state: %w", err)
		}
		changed = true
	}
	if seen && (changed || !last.Valid || tx.now()-last.Int64 >= seenEvery.Milliseconds()) {
		if _, err := tx.exec(`UPDATE hosts SET last_seen = $1 WHERE id = $2`, tx.now(), id); err != nil {
			return false, fmt.Errorf("set last sight of host: %w", err)
		}
	}
	return changed, nil
}

// SetHostFacts stores what a look at a host told.
func (tx *Tx) SetHostFacts(id int64, f baadal.HostFacts) error {
	facts, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode facts: %w", err)
	}
	n, err := tx.affected(`UPDATE hosts SET facts = $1, cpus = $2, ram_mib = $3, cpu = CASE WHEN $4 = '' THEN cpu ELSE $5 END, updated_at = $6,
		generation = generation + 1 WHERE id = $7`, string(facts), f.CPUs, f.RAMMiB, f.CPU, f.CPU, tx.now(), id)
	if err != nil {
		return fmt.Errorf("set host facts: %w", err)
	}
	if n == 0 {
		return missing("host", id)
	}
	return nil
}

// DeleteHost forgets a host. It is a Conflict while VMs are on it; deleted VMs
// that can be restored only lose their memory of it.
func (tx *Tx) DeleteHost(id int64) error {
	h, err := tx.Host(id)
	if err != nil {
		return err
	}
	names, err := tx.vmNames("v.host_id = $1 AND v.state <> 5", id)
	if err != nil {
		return err
	}
	if h.VMs > 0 {
		return baadal.Errorf(baadal.Conflict, "host %s has %d VMs", h.Name, h.VMs).WithCode("host_in_use").
			WithDetail("they are: %s", inWords(names, h.VMs))
	}
	if _, err := tx.exec(`UPDATE vms SET host_id = NULL WHERE host_id = $1 AND state = 5`, id); err != nil {
		return fmt.Errorf("forget host: %w", err)
	}
	_, err = tx.exec(`DELETE FROM hosts WHERE id = $1`, id)
	if dangling(err) { // a VM came between
		return baadal.Errorf(baadal.Conflict, "host %s has VMs", h.Name).WithCode("host_in_use")
	}
	if err != nil {
		return fmt.Errorf("delete host: %w", err)
	}
	return nil
}

// vmNames returns the names of the first VMs that match, for words.
func (tx *Tx) vmNames(where string, arg int64) ([]string, error) {
	names, err := collect(tx, func(r row) (name string, err error) { return name, r.Scan(&name) },
		`SELECT v.name FROM vms v WHERE `+where+` ORDER BY v.id LIMIT 10`, arg)
	if err != nil {
		return nil, fmt.Errorf("read names of vms: %w", err)
	}
	return names, nil
}

// inWords puts names into words; total is how many there are in all.
func inWords(names []string, total int) string {
	s := strings.Join(names, ", ")
	if total > len(names) {
		s += fmt.Sprintf(" and %d more", total-len(names))
	}
	return s
}
