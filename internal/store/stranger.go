package store

import (
	"fmt"

	"baadal"
)

// notStrange leaves out addresses that somebody unknown uses.
const notStrange = ` AND NOT EXISTS (SELECT 1 FROM strangers s WHERE s.ip = a.ip)`

// Strangers returns the addresses that answer but belong to nobody, by address.
func (tx *Tx) Strangers() ([]baadal.Stranger, error) {
	all, err := collect(tx, func(r row) (s baadal.Stranger, err error) {
		var at int64
		err = r.Scan(&s.IP, &s.MAC, &at)
		s.SeenAt = timeOf(at)
		return s, err
	}, `SELECT ip, mac, seen_at FROM strangers ORDER BY ip`)
	if err != nil {
		return nil, fmt.Errorf("read strangers: %w", err)
	}
	return all, nil
}

// FreeAddresses returns some of a network's free addresses, strangers' too, in
// the order in which they are given out.
func (tx *Tx) FreeAddresses(networkID int64, limit, offset int) (ips []string, err error) {
	ips, err = collect(tx, func(r row) (ip string, err error) { err = r.Scan(&ip); return ip, err },
		`SELECT a.ip FROM addresses a WHERE a.network_id = $1 AND a.vm_id IS NULL AND a.held = 0 ORDER BY a.ip_num LIMIT $2 OFFSET $3`, networkID, limit, offset)
	if err != nil {
		return nil, fmt.Errorf("read free addresses: %w", err)
	}
	return ips, nil
}

// SetStrangers writes down what a look found: who was seen is kept, who was
// looked for and not seen is forgotten. Only addresses of our networks count.
func (tx *Tx) SetStrangers(looked []string, seen []baadal.Stranger) error {
	for _, ip := range looked {
		if _, err := tx.exec(`DELETE FROM strangers WHERE ip = $1`, ip); err != nil {
			return fmt.Errorf("forget stranger: %w", err)
		}
	}
	for _, s := range seen {
		_, err := tx.exec(`INSERT INTO strangers (ip, mac, seen_at) SELECT a.ip, $1, $2 FROM addresses a WHERE a.ip = $3
			ON CONFLICT (ip) DO UPDATE SET mac = excluded.mac, seen_at = excluded.seen_at`, s.MAC, tx.now(), s.IP)
		if err != nil {
			return fmt.Errorf("note stranger: %w", err)
		}
	}
	return nil
}

// NetworkIDs returns the networks that give out addresses.
func (tx *Tx) NetworkIDs() ([]int64, error) {
	ids, err := collect(tx, func(r row) (id int64, err error) { err = r.Scan(&id); return id, err }, `SELECT id FROM networks WHERE deleting = 0 ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read networks: %w", err)
	}
	return ids, nil
}
