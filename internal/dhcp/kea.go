package dhcp

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"baadal"
	"baadal/internal/ssh"
)

//go:embed files/kea.sh
var keaScript string

// keaTalk sends each line of stdin as a command to the socket that is its
// argument, and prints a line for each answer. Perl is there on every Debian.
//
//go:embed files/kea.pl
var keaTalk string

// NewKea returns the Kea DHCPv4 server on the host. Nothing is asked of it yet.
func NewKea(runner Runner, host baadal.Host, opts Options) *Server {
	if opts.File == "" {
		opts.File = "/etc/kea/baadal.json"
	}
	if opts.MainConfig == "" {
		opts.MainConfig = "/etc/kea/kea-dhcp4.conf"
	}
	if opts.Socket == "" {
		opts.Socket = "/run/kea/kea4-ctrl-socket"
	}
	if len(opts.Restart) == 0 {
		opts.Restart = []string{"systemctl", "restart", "kea-dhcp4-server"}
	}
	opts.Status = nil
	return newServer(product{
		name: "Kea", pack: "kea-dhcp4-server", unit: "kea-dhcp4-server", script: "talk=" + shellQuote(keaTalk) + "\n" + keaScript, look: "kea-dhcp4 -t",
		render: renderKea, parse: ParseKea, words: keaWords, after: dropLeases, still: keaStill,
		include: func(file string) string {
			return fmt.Sprintf("%q: true, %q: false, %q: <?include %q?> in %q, and the hooks library libdhcp_lease_cmds.so", "reservations-global", "match-client-id", "reservations", file, "Dhcp4")
		},
	}, runner, host, opts)
}

// shellQuote makes one word of it for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// keaReservation is a reservation as Kea has it. Its name is no "hostname": that
// would be told to the guest.
type keaReservation struct {
	MAC     string     `json:"hw-address"`
	IP      netip.Addr `json:"ip-address"`
	Context struct {
		Name string `json:"name"`
	} `json:"user-context"`
}

func renderKea(rs []reservation) []byte {
	var b bytes.Buffer
	b.WriteString(firstLines + "[\n")
	for i, r := range rs {
		fmt.Fprintf(&b, `{"hw-address":%q,"ip-address":%q,"user-context":{"name":%q}}`, r.mac, r.ip, r.name)
		if i < len(rs)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n" + lastLine + "\n")
	return b.Bytes()
}

// ParseKea reads a file of reservations, ours or one that was changed by hand, as
// long as it holds nothing but reservations of a name, a MAC and an IP address,
// and whole lines of comment. MAC addresses come back in upper case.
func ParseKea(text []byte) ([]baadal.Reservation, error) {
	var plain bytes.Buffer
	for line := range bytes.Lines(text) {
		if t := bytes.TrimSpace(line); !bytes.HasPrefix(t, []byte("#")) && !bytes.HasPrefix(t, []byte("//")) {
			plain.Write(line)
		}
	}
	if len(bytes.TrimSpace(plain.Bytes())) == 0 {
		return nil, nil
	}
	dec := json.NewDecoder(&plain)
	dec.DisallowUnknownFields()
	var list []keaReservation
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("not reservations: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("not reservations alone: more comes after them")
	}
	rs := make([]baadal.Reservation, 0, len(list))
	for _, r := range list {
		c, err := checkReservation(baadal.Reservation{Name: r.Context.Name, MAC: r.MAC, IP: r.IP.String()})
		if err != nil {
			return nil, err
		}
		rs = append(rs, baadal.Reservation{Name: c.name, MAC: c.mac, IP: c.ip.String()})
	}
	return rs, nil
}

// keaWords keeps the lines that tell of a mistake.
func keaWords(said string) string {
	var keep []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.Contains(line, " INFO ") && !strings.Contains(line, " WARN ") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[max(0, len(keep)-6):], "; ")
}

// keaLease is what we want to know of a lease.
type keaLease struct {
	IP  string `json:"ip-address"`
	MAC string `json:"hw-address"`
}

// keaAnswer is Kea's answer to a command.
type keaAnswer[T any] struct {
	Arguments T      `json:"arguments"`
	Result    int    `json:"result"`
	Text      string `json:"text"`
}

// keaRun says which run of Kea answered, and for how many seconds it has run.
type keaRun struct {
	PID    int   `json:"pid"`
	Uptime int64 `json:"uptime"`
}

// keaStill reports whether there is no lease that dropLeases would end: none
// comes of itself but with a Kea that was started from an older lease file, or by
// a guest, whoever it is, that declines an address.
func keaStill(before, now []byte) bool {
	var was, is keaAnswer[keaRun]
	var declined keaAnswer[map[string][][]any] // samples of a statistic, the youngest first: its value and when
	dec := json.NewDecoder(bytes.NewReader(now))
	if json.NewDecoder(bytes.NewReader(before)).Decode(&was) != nil || dec.Decode(&is) != nil || dec.Decode(&declined) != nil {
		return false
	}
	samples := declined.Arguments["declined-addresses"]
	return is.Arguments.PID == was.Arguments.PID && is.Arguments.Uptime >= was.Arguments.Uptime &&
		len(samples) > 0 && len(samples[0]) > 0 && samples[0][0] == 0.0
}

// dropLeases ends leases of reserved addresses that others have, or nobody, as
// they were declined: until they ran out, Kea would not give such an address to
// whom it is reserved for.
func dropLeases(ctx context.Context, s *Server, rs []reservation, printed []byte) error {
	var run keaAnswer[keaRun]
	var answer keaAnswer[struct {
		Leases []keaLease `json:"leases"`
	}]
	dec := json.NewDecoder(bytes.NewReader(printed))
	if err := errors.Join(dec.Decode(&run), dec.Decode(&answer)); err != nil {
		return fmt.Errorf("read Kea's leases: %w", err)
	}
	const none = 3
	if answer.Result != 0 && answer.Result != none {
		return fmt.Errorf("read Kea's leases: %s", answer.Text)
	}
	owners := make(map[string]string, len(rs))
	for _, r := range rs {
		owners[r.ip.String()] = r.mac
	}
	var commands bytes.Buffer
	for _, l := range answer.Arguments.Leases {
		if mac, ok := owners[l.IP]; ok && !strings.EqualFold(mac, l.MAC) {
			fmt.Fprintf(&commands, `{"command":"lease4-del","arguments":{"ip-address":%q}}`+"\n", l.IP)
		}
	}
	if commands.Len() == 0 {
		return nil
	}
	res, err := s.runner.Run(ctx, s.host, ssh.Command{
		Argv: []string{"perl", "-e", keaTalk, s.opts.Socket}, Stdin: &commands, Timeout: applyLimit, Limit: fileLimit,
	})
	if err == nil && res.Code != 0 {
		err = baadal.Errorf(baadal.Unavailable, "Kea at %s stopped answering", s.box()).WithCode("dhcp_down").WithDetail("%s", bytes.TrimSpace(res.Stderr))
	}
	if err != nil {
		return fmt.Errorf("end leases of others: %w", err)
	}
	return nil
}
