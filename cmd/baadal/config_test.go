package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "baadal.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	c, err := readConfig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.complete(); err != nil {
		t.Error(err)
	}
	// Everything that is kept lies below the state folder.
	if c.State != "/var/lib/baadal" || c.Database != "sqlite:/var/lib/baadal/baadal.db" || c.SSHKey != "/var/lib/baadal/id_ed25519" {
		t.Errorf("state %s, database %s, key %s", c.State, c.Database, c.SSHKey)
	}
	c = defaultConfig()
	c.State = "/srv/cloud"
	if err := c.complete(); err != nil || c.Database != "sqlite:/srv/cloud/baadal.db" || c.SSHKey != "/srv/cloud/id_ed25519" {
		t.Errorf("another state folder: database %s, key %s, %v", c.Database, c.SSHKey, err)
	}
}

// TestExampleShowsTheDefaults: the documented file is valid and changes nothing.
func TestExampleShowsTheDefaults(t *testing.T) {
	t.Parallel()
	example, err := readConfig(t.Context(), "../../docs/baadal.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := example.complete(); err != nil {
		t.Error(err)
	}
	defaults := defaultConfig()
	if err := defaults.complete(); err != nil {
		t.Fatal(err)
	}
	if len(example.TrustedProxies) == 0 {
		example.TrustedProxies = nil
	}
	if diff := cmp.Diff(defaults, example); diff != "" {
		t.Errorf("the example (-defaults +example):\n%s", diff)
	}
}

func TestEmptyFileIsValid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "dhcp:\n  #kind: isc\nlog:\n"} {
		c, err := readConfig(t.Context(), writeConfig(t, text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(defaultConfig(), c); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestFileIsRead(t *testing.T) {
	t.Parallel()
	c, err := readConfig(t.Context(), writeConfig(t, `
listen: "[::1]:9090"
state: /srv/baadal
database: postgres://baadal:hunter2@db/baadal
dhcp:
  kind: isc
  address: 10.0.0.2
  host_key: ssh-ed25519 AAAA
  restart: [systemctl, restart, dhcpd]
dns:
  kind: dnsmasq
  domain: cloud.example.org
  address: local
vnc: {address: 10.0.0.3}
nat: {address: 10.0.0.3, host_key: ssh-ed25519 BBBB, interface: eth0, public: 203.0.113.1}
log: {level: debug, format: json}
trusted_proxies: [127.0.0.1, 10.0.0.0/8]
workers: 5
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.complete(); err != nil {
		t.Error(err)
	}
	want := config{
		Listen: "[::1]:9090", State: "/srv/baadal", Database: "postgres://baadal:hunter2@db/baadal", SSHKey: "/srv/baadal/id_ed25519",
		DHCP: dhcpConfig{Kind: "isc", Address: "10.0.0.2", User: "root", HostKey: "ssh-ed25519 AAAA", Restart: []string{"systemctl", "restart", "dhcpd"}},
		DNS:  dnsConfig{Kind: "dnsmasq", Domain: "cloud.example.org", Address: "local", User: "root"},
		VNC:  vncConfig{Address: "10.0.0.3"},
		NAT:  natConfig{Address: "10.0.0.3", User: "root", HostKey: "ssh-ed25519 BBBB", Interface: "eth0", Public: "203.0.113.1", Table: "baadal"},
		Log:  logConfig{Level: "debug", Format: "json"}, TrustedProxies: []string{"127.0.0.1", "10.0.0.0/8"}, Workers: 5,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	proxies, err := c.proxies()
	if err != nil || len(proxies) != 2 || proxies[0].String() != "127.0.0.1/32" || proxies[1].String() != "10.0.0.0/8" {
		t.Errorf("proxies %v, %v", proxies, err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":         {"listen: 127.0.0.1:1\nstata: /srv\n", []string{"stata", "2"}},
		"unknown key in part": {"log:\n  lvl: info\n", []string{"lvl", "2"}},
		"wrong type":          {"workers: many\n", []string{"Workers", "1"}},
		"key EOF":             {"EOF: 1\n", []string{"EOF", "1"}},
		"no YAML":             {"listen: [\n", []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeConfig(t, x.text)
			_, err := readConfig(t.Context(), path)
			if err == nil {
				t.Fatal("it was read")
			}
			for _, word := range append(x.want, path) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		})
	}
	if _, err := readConfig(t.Context(), filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestAllMistakesAtOnce: one start tells everything that is wrong.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	c := config{
		Listen: "8080", State: "var/lib", Database: "mysql://root:hunter2@db/x", TLS: tlsConfig{Certificate: "/no/such.crt"}, DHCP: dhcpConfig{Kind: "isc"},
		DNS: dnsConfig{Kind: "dnsmasq", Domain: "Cloud_1.", File: "names", Server: "10.0.0.2"}, VNC: vncConfig{Address: "0.0.0.0"},
		NAT: natConfig{Address: "10.0.0.3", Interface: "a b", Public: "::1", Table: "a b"},
		Log: logConfig{Level: "loud", Format: "xml"}, TrustedProxies: []string{"10.0.0.0/8", "proxy.example.org"}, Workers: 0,
	}
	err := c.complete()
	if err == nil {
		t.Fatal("it is taken")
	}
	var keys []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		key, _, _ := strings.Cut(line, ":")
		keys = append(keys, key)
	}
	want := []string{
		"listen", "state", "database", "tls", "tls.certificate", "dhcp.address", "dhcp.host_key", "dns.domain", "dns.address", "dns.host_key", "dns.file", "dns.server", "vnc.address", "nat.host_key", "nat.interface", "nat.public", "nat.table", "log.level", "log.format", "workers", "trusted_proxies",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s\n%v", diff, err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password of the database is told: %v", err)
	}
	c = defaultConfig()
	c.DHCP.Kind = "dnsmasq"
	if err := c.complete(); err == nil || !strings.HasPrefix(err.Error(), "dhcp.kind: ") {
		t.Errorf("an unknown kind of DHCP server: %v", err)
	}
}

// A NAT box leads to IPv4 addresses only: for another it would refuse its table.
func TestNATBoxLeadsToIPv4(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"10.0.0.2": "", "fd00::2": "vnc.address: "} {
		for _, there := range []bool{false, true} {
			c := defaultConfig()
			c.VNC.Address = address
			if there {
				c.NAT.Address, c.NAT.HostKey, c.NAT.Interface, c.NAT.Public = "10.0.0.3", "ssh-ed25519 AAAA", "eth0", "203.0.113.1"
			}
			err := c.complete()
			if bad := there && want != ""; bad != (err != nil) || bad && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s, a NAT box %t: %v", address, there, err)
			}
		}
	}
}

func TestDHCPServers(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		in   dhcpConfig
		want string // beginning of the error
	}{
		"Kea by SSH":          {in: dhcpConfig{Kind: "kea", Address: "10.0.0.2", HostKey: "ssh-ed25519 AAAA", Socket: "/run/kea/s"}},
		"Kea here":            {in: dhcpConfig{Kind: "kea", Address: "local"}},
		"ISC here":            {in: dhcpConfig{Kind: "isc", Address: "local", Status: []string{"pidof", "dhcpd"}}},
		"no key":              {dhcpConfig{Kind: "kea", Address: "10.0.0.2"}, "dhcp.host_key: "},
		"nowhere":             {dhcpConfig{Kind: "kea", HostKey: "ssh-ed25519 AAAA"}, "dhcp.address: "},
		"a socket of ISC":     {dhcpConfig{Kind: "isc", Address: "local", Socket: "/run/x"}, "dhcp.socket: "},
		"a status of Kea":     {dhcpConfig{Kind: "kea", Address: "local", Status: []string{"true"}}, "dhcp.status: "},
		"a file of somewhere": {dhcpConfig{Kind: "kea", Address: "local", File: "baadal.json"}, "dhcp.file: "},
	} {
		c := defaultConfig()
		c.DHCP = x.in
		err := c.complete()
		if (err == nil) != (x.want == "") || err != nil && !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}

// TestBoxesKeepTheirAddresses: no VM gets the address of a box, with a port or not.
func TestBoxesKeepTheirAddresses(t *testing.T) {
	t.Parallel()
	c := defaultConfig()
	c.DHCP.Address, c.DNS.Address, c.NAT.Address, c.NAT.Public = "198.51.100.2", "198.51.100.3:2222", "[2001:db8::4]:22", "203.0.113.1"
	all := ownAddresses(c)
	for _, want := range []string{"198.51.100.2", "198.51.100.3", "2001:db8::4", "203.0.113.1"} {
		if !slices.Contains(all, netip.MustParseAddr(want)) {
			t.Errorf("%s is not among %v", want, all)
		}
	}
}

// TestDatabasePasswordStaysSecret: whatever is wrong around it in the file, the
// line with the password is not shown.
func TestDatabasePasswordStaysSecret(t *testing.T) {
	t.Parallel()
	const line = "database: postgres://baadal:hunter2@db/baadal\n"
	for name, text := range map[string]string{
		"before":         line + "stata: /srv\n",
		"after":          "stata: /srv\n" + line,
		"type":           "workers: many\n" + line,
		"syntax":         line + "listen: [\n",
		"misspelt":       "databse: postgres://baadal:hunter2@db/baadal\n",
		"wrong place":    "log:\n  " + line,
		"list":           "database: [\"postgres://baadal:hunter2@db/baadal\"]\n",
		"quote not shut": "database: \"postgres://baadal:hunter2@db/baadal\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readConfig(t.Context(), writeConfig(t, text))
			if err == nil {
				t.Fatal("it was read")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is told:\n%v", err)
			}
		})
	}
}
