package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"baadal"
)

// port is one interface of a bridge.
type port struct {
	bridge, name string
	number       int    // in rules; 0 if it has none
	mac, vm      string // of the VM's NIC, as libvirt wrote them beside it: MAC in upper case, UUID
	tag          int    // its VLAN; 0 if it has none of its own
}

// nic is the VM's NIC that the port carries, if it is one of ours.
func (p port) nic(nics map[string]baadal.FlowNIC) (baadal.FlowNIC, bool) {
	n, known := nics[p.mac]
	return n, known && p.mac != "" && strings.EqualFold(n.VM, p.vm)
}

type bridge struct {
	name, failMode string
	tag            int // of the host's own port on it; 0 if it has none
}

// row is a row of a table: its columns, as the database writes them.
type row map[string]json.RawMessage

// change is what became of rows: by table and UUID; a row that is gone is nil.
type change map[string]map[string]row

// monitored are the columns that are followed.
var monitored = map[string][]string{
	"Bridge":    {"name", "ports", "fail_mode"},
	"Port":      {"name", "interfaces", "tag"},
	"Interface": {"name", "ofport", "external_ids", "error", "type"},
}

// database follows a host's ovsdb-server (RFC 7047). Its methods belong to one
// goroutine; another one reads.
type database struct {
	conn    net.Conn
	updates chan change // closed when the connection is lost

	write sync.Mutex
	err   error // why; to be read once updates is closed

	tables change
	stale  map[string]time.Time // ports that lead nowhere, since when
	calls  int
}

// openDatabase connects and reads the tables once.
func openDatabase(ctx context.Context, conn Connection, host baadal.Host, path string) (*database, error) {
	c, err := conn.DialUnix(ctx, host, path)
	if err != nil {
		if baadal.KindOf(err) == baadal.Unavailable {
			return nil, err
		}
		return nil, failing(host, err.Error())
	}
	d := &database{conn: c, updates: make(chan change, 64), tables: change{}, stale: map[string]time.Time{}}
	stopped := context.AfterFunc(ctx, func() { _ = c.Close() })
	requests := map[string]any{}
	for table, columns := range monitored {
		requests[table] = map[string]any{"columns": columns}
	}
	if err := d.call("monitor", "Open_vSwitch", nil, requests); err != nil {
		d.close()
		return nil, d.lost(host, err)
	}
	go d.follow(ctx, host, stopped)
	select {
	case first, ok := <-d.updates:
		if !ok {
			return nil, d.failure()
		}
		d.apply(first)
		return d, nil
	case <-time.After(openTimeout):
		d.close()
		return nil, failing(host, fmt.Sprintf("its database did not tell its tables within %s", openTimeout))
	case <-ctx.Done():
		d.close()
		return nil, context.Cause(ctx)
	}
}

func (d *database) close() { _ = d.conn.Close() }

// failure is why the connection was lost.
func (d *database) failure() error { return d.err }

func (d *database) lost(host baadal.Host, err error) error {
	if kind := baadal.KindOf(err); kind == baadal.Unavailable {
		return err
	}
	return baadal.Errorf(baadal.Unavailable, "Open vSwitch's database on %s was lost", host.Name).WithCode("openvswitch_failing").WithDetail("%v", err)
}

func (d *database) call(method string, params ...any) error {
	d.write.Lock()
	defer d.write.Unlock()
	d.calls++
	b, err := json.Marshal(map[string]any{"method": method, "params": params, "id": d.calls})
	if err == nil {
		_, err = d.conn.Write(b)
	}
	return err
}

func (d *database) answer(id, result json.RawMessage) error {
	d.write.Lock()
	defer d.write.Unlock()
	b, err := json.Marshal(map[string]any{"id": id, "result": result, "error": nil})
	if err == nil {
		_, err = d.conn.Write(b)
	}
	return err
}

// follow reads until the connection is lost.
func (d *database) follow(ctx context.Context, host baadal.Host, stopped func() bool) {
	defer stopped()
	defer close(d.updates)
	in := json.NewDecoder(d.conn)
	first := true
	for {
		var m struct {
			Method string
			Params json.RawMessage
			ID     json.RawMessage
			Result json.RawMessage
			Error  json.RawMessage
		}
		err := in.Decode(&m)
		var c change
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = errors.New("it was closed")
			}
		case m.Method == "echo":
			err = d.answer(m.ID, m.Params)
		case m.Method == "update":
			var params []json.RawMessage
			if err = json.Unmarshal(m.Params, &params); err == nil && len(params) == 2 {
				c, err = parseChange(params[1])
			}
		case m.Method == "" && first:
			first = false
			if len(m.Error) > 0 && string(m.Error) != "null" {
				err = fmt.Errorf("it refuses to be followed: %s", m.Error)
			} else {
				c, err = parseChange(m.Result)
			}
		}
		if err != nil {
			d.err = d.lost(host, err)
			return
		}
		if c == nil {
			continue
		}
		select {
		case d.updates <- c:
		case <-ctx.Done():
			d.err = context.Cause(ctx)
			return
		}
	}
}

func parseChange(raw json.RawMessage) (change, error) {
	var tables map[string]map[string]struct{ New row }
	if err := json.Unmarshal(raw, &tables); err != nil {
		return nil, fmt.Errorf("parse update: %w", err)
	}
	c := change{}
	for table, rows := range tables {
		c[table] = map[string]row{}
		for uuid, r := range rows {
			c[table][uuid] = r.New
		}
	}
	return c, nil
}

func (d *database) apply(c change) {
	for table, rows := range c {
		if d.tables[table] == nil {
			d.tables[table] = map[string]row{}
		}
		for uuid, r := range rows {
			if r == nil {
				delete(d.tables[table], uuid)
			} else {
				d.tables[table][uuid] = r
			}
		}
	}
}

// drain takes what has come meanwhile too.
func (d *database) drain() {
	for {
		select {
		case c, ok := <-d.updates:
			if !ok {
				return // the next read tells
			}
			d.apply(c)
		default:
			return
		}
	}
}

func (d *database) bridges() []bridge {
	tags := map[string]int{}
	d.each(func(b, p, i row, _, _ string) {
		if text(i["name"]) == text(b["name"]) {
			tags[text(b["name"])] = number(p["tag"])
		}
	})
	var all []bridge
	for _, r := range d.tables["Bridge"] {
		all = append(all, bridge{name: text(r["name"]), failMode: text(r["fail_mode"]), tag: tags[text(r["name"])]})
	}
	slices.SortFunc(all, func(a, b bridge) int { return cmp.Compare(a.name, b.name) })
	return all
}

// reached finds the bridges through which the host itself may be reached: by a
// port with an address of the host's own, or with a device that has one standing
// on it. The address of a network card that is the bridge's way out leads nowhere.
func (d *database) reached(own, below map[string]bool) map[string]bool {
	all := map[string]bool{}
	d.each(func(b, _, i row, _, _ string) {
		name := text(i["name"])
		inside := name == text(b["name"]) || text(i["type"]) == "internal"
		if below[name] || own[name] && inside {
			all[text(b["name"])] = true
		}
	})
	return all
}

// ports lists every interface but the bridges' own, in a fixed order.
func (d *database) ports() []port {
	var all []port
	d.each(func(b, p, i row, _, _ string) {
		if text(i["name"]) == text(b["name"]) {
			return
		}
		ids := mapOf(i["external_ids"])
		all = append(all, port{
			bridge: text(b["name"]), name: text(i["name"]), number: number(i["ofport"]), tag: number(p["tag"]),
			mac: strings.ToUpper(ids["attached-mac"]), vm: ids["vm-id"],
		})
	})
	slices.SortFunc(all, func(a, b port) int {
		return cmp.Or(cmp.Compare(a.bridge, b.bridge), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	return all
}

func (d *database) each(fn func(b, p, i row, bridgeID, portID string)) {
	for bid, b := range d.tables["Bridge"] {
		for _, pid := range uuids(b["ports"]) {
			p := d.tables["Port"][pid]
			for _, iid := range uuids(p["interfaces"]) {
				if i := d.tables["Interface"][iid]; i != nil {
					fn(b, p, i, bid, pid)
				}
			}
		}
	}
}

// sweep removes ports of VMs that have led nowhere for a while: a host that lost
// its power keeps them.
func (d *database) sweep(now time.Time) {
	seen := map[string]bool{}
	d.each(func(_, _, i row, bid, pid string) {
		if mapOf(i["external_ids"])["attached-mac"] == "" || text(i["error"]) == "" || number(i["ofport"]) > 0 {
			return
		}
		seen[pid] = true
		since, known := d.stale[pid]
		if !known {
			d.stale[pid] = now
			return
		}
		if now.Sub(since) < staleAfter {
			return
		}
		d.stale[pid] = now // if it does not help, again after a while
		_ = d.call("transact", "Open_vSwitch", map[string]any{
			"op": "mutate", "table": "Bridge", "where": []any{[]any{"_uuid", "==", []string{"uuid", bid}}},
			"mutations": []any{[]any{"ports", "delete", []string{"uuid", pid}}},
		}) // a lost connection tells itself to its reader
	})
	for pid := range d.stale {
		if !seen[pid] {
			delete(d.stale, pid)
		}
	}
}

func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

// number returns 0 for an empty set.
func number(raw json.RawMessage) (n int) {
	_ = json.Unmarshal(raw, &n)
	return n
}

// uuids returns the references in a cell: ["uuid", X] or ["set", [["uuid", X], …]].
func uuids(raw json.RawMessage) []string {
	var cell []json.RawMessage
	if json.Unmarshal(raw, &cell) != nil || len(cell) != 2 {
		return nil
	}
	switch text(cell[0]) {
	case "uuid":
		return []string{text(cell[1])}
	case "set":
		var each []json.RawMessage
		if json.Unmarshal(cell[1], &each) != nil {
			return nil
		}
		var all []string
		for _, e := range each {
			all = append(all, uuids(e)...)
		}
		return all
	}
	return nil
}

// mapOf reads ["map", [[key, value], …]].
func mapOf(raw json.RawMessage) map[string]string {
	var cell []json.RawMessage
	var pairs [][2]string
	all := map[string]string{}
	if json.Unmarshal(raw, &cell) != nil || len(cell) != 2 || json.Unmarshal(cell[1], &pairs) != nil {
		return all
	}
	for _, p := range pairs {
		all[p[0]] = p[1]
	}
	return all
}
