package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// vlanScript prints two tables, a line each.
const vlanScript = `set -eu
export PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
ovs-vsctl --timeout=10 --format=json --columns=name,external_ids,ofport list interface
ovs-vsctl --timeout=10 --format=json --columns=name,tag list port`

// VLANs returns the VLAN tag of each port that carries a VM's NIC, by the NIC's
// MAC address in upper case; 0 means the port is a trunk. libvirt writes the MAC
// address next to the port. Ports that a crash left behind and that lead nowhere
// are left out.
func (p *Prober) VLANs(ctx context.Context, host baadal.Host) (map[string]int, error) {
	res, err := p.conn.Run(ctx, host, ssh.Command{Argv: []string{"sh", "-c", vlanScript}, Timeout: 30 * time.Second, Limit: 32 << 20})
	if err != nil {
		return nil, fmt.Errorf("read VLANs: %w", err)
	}
	if res.Code != 0 {
		words := firstLine(string(res.Stderr), "no reason given")
		return nil, &baadal.Error{
			Kind: baadal.Unavailable, Code: "openvswitch_failing", Title: "Open vSwitch on " + host.Name + " does not answer", Detail: words,
			Next: []baadal.Offer{{Label: "Look at the host", Action: "baadal host check " + host.Name}},
		}
	}
	tags, err := parseVLANs(res.Stdout)
	if err != nil {
		return nil, fmt.Errorf("read VLANs of %s: %w", host.Name, err)
	}
	return tags, nil
}

// setVLANScript finds the port of a NIC by its MAC and tags it. The list is read
// instead of asked by the MAC: only ports that lead somewhere count.
const setVLANScript = `set -eu
export PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
for i in $(ovs-vsctl --timeout=10 --bare --columns=name find interface "external_ids:attached-mac=\"$1\"" 'ofport>=1'); do
	ovs-vsctl --timeout=10 set port "$i" tag="$2" trunks='[]'
	exit 0
done
exit 44`

// SetVLAN gives the port that carries a VM's NIC a VLAN tag. NotFound (code
// port_unknown) if the host's bridge has no such port.
func (p *Prober) SetVLAN(ctx context.Context, host baadal.Host, mac string, tag int) error {
	argv := []string{"sh", "-c", setVLANScript, "sh", strings.ToLower(mac), strconv.Itoa(tag)}
	res, err := p.conn.Run(ctx, host, ssh.Command{Argv: argv, Timeout: 30 * time.Second})
	switch {
	case err != nil:
		return fmt.Errorf("set VLAN: %w", err)
	case res.Code == 44:
		return baadal.Errorf(baadal.NotFound, "%s has no port with the MAC %s", host.Name, mac).WithCode("port_unknown")
	case res.Code != 0:
		return baadal.Errorf(baadal.Unavailable, "Open vSwitch on %s does not answer", host.Name).WithCode("openvswitch_failing").
			WithDetail("%s", firstLine(string(res.Stderr), "no reason given")).WithNext("Look at the host", "baadal host check "+host.Name)
	}
	return nil
}

// table is what ovs-vsctl prints; a cell is a value, ["set", [...]] or
// ["map", [[key, value], ...]].
type table struct {
	Headings []string
	Data     [][]json.RawMessage
}

func parseVLANs(out []byte) (map[string]int, error) {
	var interfaces, ports table
	d := json.NewDecoder(bytes.NewReader(out))
	if err := d.Decode(&interfaces); err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	if err := d.Decode(&ports); err != nil {
		return nil, fmt.Errorf("ports: %w", err)
	}
	tagOf := map[string]int{}
	for _, row := range ports.Data {
		if len(row) == 2 {
			tagOf[text(row[0])] = integer(row[1])
		}
	}
	tags := map[string]int{}
	for _, row := range interfaces.Data {
		if len(row) != 3 || integer(row[2]) < 0 {
			continue
		}
		name := text(row[0])
		tag, known := tagOf[name]
		if mac := mapValue(row[1], "attached-mac"); mac != "" && known {
			tags[strings.ToUpper(mac)] = tag
		}
	}
	return tags, nil
}

func text(cell json.RawMessage) (s string) {
	_ = json.Unmarshal(cell, &s)
	return s
}

// integer returns 0 for an empty set.
func integer(cell json.RawMessage) (n int) {
	_ = json.Unmarshal(cell, &n)
	return n
}

func mapValue(cell json.RawMessage, key string) string {
	var tagged []json.RawMessage
	var pairs [][2]string
	if json.Unmarshal(cell, &tagged) != nil || len(tagged) != 2 || json.Unmarshal(tagged[1], &pairs) != nil {
		return ""
	}
	for _, p := range pairs {
		if p[0] == key {
			return p[1]
		}
	}
	return ""
}
