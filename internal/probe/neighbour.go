package probe

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// Neighbours looks at the networks of VMs from a box that has a foot in them.
type Neighbours struct {
	conn Runner
	box  baadal.Host
}

// Runner runs commands on hosts. ssh.Pool is one.
type Runner interface {
	Run(ctx context.Context, host baadal.Host, cmd ssh.Command) (ssh.Result, error)
}

// NewNeighbours looks from this box. Nothing is asked of it yet.
func NewNeighbours(conn Runner, box baadal.Host) *Neighbours {
	return &Neighbours{conn: conn, box: box}
}

//go:embed files/neighbours.sh
var neighboursScript string

// Neighbours tells who answers: MAC addresses in upper case by IP address, of
// those asked for, the box's own among them, and of others whom it has just heard. Addresses that are
// not on a network of the box's are not asked for.
func (n *Neighbours) Neighbours(ctx context.Context, addresses []string) (map[string]string, error) {
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.Is4() {
			return nil, baadal.Errorf(baadal.Invalid, "%q is not an IPv4 address", a)
		}
	}
	res, err := n.conn.Run(ctx, n.box, ssh.Command{
		Argv: []string{"sh", "-c", neighboursScript}, Stdin: strings.NewReader(strings.Join(addresses, "\n") + "\n"),
		Timeout: 30 * time.Second, Limit: 8 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("look for neighbours: %w", err)
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("look for neighbours: the script ended with code %d: %s", res.Code, firstLine(string(res.Stderr), "no reason given"))
	}
	return parseNeighbours(string(res.Stdout)), nil
}

// parseNeighbours reads lines as "192.168.10.9 dev v10 lladdr 02:00:00:00:00:09 REACHABLE".
func parseNeighbours(out string) map[string]string {
	seen := map[string]string{}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		for i, w := range words {
			if w != "lladdr" || i+1 == len(words) {
				continue
			}
			mac, err := net.ParseMAC(words[i+1])
			if ip, iperr := netip.ParseAddr(words[0]); err == nil && iperr == nil {
				seen[ip.String()] = strings.ToUpper(mac.String())
			}
		}
	}
	return seen
}
