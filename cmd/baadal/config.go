package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"baadal"
)

// config is the configuration file of `baadal serve`; docs/baadal.example.yaml
// says what each value means. What can change while the cloud runs is a
// setting, not a line here.
type config struct {
	Listen         string     `yaml:"listen"`
	State          string     `yaml:"state"`
	Database       string     `yaml:"database"`
	SSHKey         string     `yaml:"ssh_key"`
	TLS            tlsConfig  `yaml:"tls"`
	DHCP           dhcpConfig `yaml:"dhcp"`
	DNS            dnsConfig  `yaml:"dns"`
	VNC            vncConfig  `yaml:"vnc"`
	NAT            natConfig  `yaml:"nat"`
	Log            logConfig  `yaml:"log"`
	MetricsPublic  bool       `yaml:"metrics_public"`
	TrustedProxies []string   `yaml:"trusted_proxies"`
	Workers        int        `yaml:"workers"`
}

type tlsConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

type dhcpConfig struct {
	Kind       string   `yaml:"kind"`    // isc, kea or none
	Address    string   `yaml:"address"` // or localBox
	User       string   `yaml:"user"`
	HostKey    string   `yaml:"host_key"`
	File       string   `yaml:"file"`
	MainConfig string   `yaml:"main_config"`
	Restart    []string `yaml:"restart"`
	Status     []string `yaml:"status"`
	Socket     string   `yaml:"socket"`
}

// localBox is the address of a DHCP or name server beside the controller: its
// files are written and its commands run without SSH.
const localBox = "local"

type dnsConfig struct {
	Kind    string   `yaml:"kind"` // dnsmasq or none
	Domain  string   `yaml:"domain"`
	Address string   `yaml:"address"`
	User    string   `yaml:"user"`
	HostKey string   `yaml:"host_key"`
	File    string   `yaml:"file"`
	Server  string   `yaml:"server"`
	Reload  []string `yaml:"reload"`
	Restart []string `yaml:"restart"`
}

type vncConfig struct {
	Address string `yaml:"address"` // of this controller; empty: it does not listen for VNC clients
}

// natConfig is the NAT box; without an address there is none.
type natConfig struct {
	Address   string `yaml:"address"`
	User      string `yaml:"user"`
	HostKey   string `yaml:"host_key"`
	Interface string `yaml:"interface"`
	Public    string `yaml:"public"`
	Table     string `yaml:"table"`
}

type logConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"` // text or json
}

// defaultConfig is what holds without a file.
func defaultConfig() config {
	return config{
		Listen: "127.0.0.1:8080", State: "/var/lib/baadal", DHCP: dhcpConfig{Kind: "none", User: "root"},
		DNS: dnsConfig{Kind: "none", User: "root"},
		NAT: natConfig{User: "root", Table: "baadal"},
		Log: logConfig{Level: "info", Format: "text"}, Workers: 256,
	}
}

// readConfig reads and checks a file; an empty path means the defaults. Unknown
// keys are errors: a misspelt one would silently not count.
func readConfig(ctx context.Context, path string) (config, error) {
	c := defaultConfig()
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
		// The lines around a mistake are not shown: one may hold a password.
		if err := dec.DecodeContext(ctx, &c); err != nil && !errors.Is(err, io.EOF) {
			return c, fmt.Errorf("configuration %s: %s", path, yaml.FormatError(err, false, false))
		}
		c.restoreEmpty()
	}
	return c, nil
}

// restoreEmpty gives a file, or a part of it, in which every line is a comment
// its defaults: to the decoder it is null, which empties everything.
func (c *config) restoreEmpty() {
	defaults := defaultConfig()
	if reflect.ValueOf(*c).IsZero() {
		*c = defaults
	}
	if reflect.ValueOf(c.DHCP).IsZero() {
		c.DHCP = defaults.DHCP
	}
	if reflect.ValueOf(c.DNS).IsZero() {
		c.DNS = defaults.DNS
	}
	if reflect.ValueOf(c.NAT).IsZero() {
		c.NAT = defaults.NAT
	}
	if reflect.ValueOf(c.Log).IsZero() {
		c.Log = defaults.Log
	}
}

// complete fills in what depends on other values, and checks everything: all
// mistakes are told at once.
func (c *config) complete() error {
	if c.Database == "" {
		c.Database = "sqlite:" + filepath.Join(c.State, "baadal.db")
	}
	if c.SSHKey == "" {
		c.SSHKey = filepath.Join(c.State, "id_ed25519")
	}
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen", "%q is not host:port", c.Listen)
	}
	if !filepath.IsAbs(c.State) {
		bad("state", "%q is not an absolute folder", c.State)
	}
	if !strings.HasPrefix(c.Database, "sqlite:") && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://") {
		bad("database", "begin it with sqlite: or postgres://") // its text may hold a password
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		bad("tls", "certificate and key go together")
	}
	for key, file := range map[string]string{"tls.certificate": c.TLS.Certificate, "tls.key": c.TLS.Key} {
		if _, err := os.Stat(file); file != "" && err != nil {
			bad(key, "%v", err)
		}
	}
	c.checkDHCP(bad)
	c.checkDNS(bad)
	if c.VNC.Address != "" {
		if a, err := c.vncAddress(); err != nil || a.IsUnspecified() || a.Zone() != "" {
			bad("vnc.address", "%q is not one IP address of this machine: people and the NAT box are told to connect to it", c.VNC.Address)
		}
	}
	c.checkNAT(bad)
	if _, err := c.logLevel(); err != nil {
		bad("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is not text or json", c.Log.Format)
	}
	if c.Workers < 1 || c.Workers > 10000 {
		bad("workers", "%d is not between 1 and 10000", c.Workers)
	}
	if _, err := c.proxies(); err != nil {
		bad("trusted_proxies", "%v", err)
	}
	return errors.Join(errs...)
}

func (c *config) checkDHCP(bad func(key, format string, args ...any)) {
	switch c.DHCP.Kind {
	case "none":
	case "isc", "kea":
		if c.DHCP.Address == "" {
			bad("dhcp.address", "where is the DHCP server? Give the address of its sshd, or %s", localBox)
		}
		if c.DHCP.HostKey == "" && c.DHCP.Address != localBox {
			bad("dhcp.host_key", "pin the key of its sshd: ssh-keyscan -t ed25519 %s", c.DHCP.Address)
		}
		if c.DHCP.Kind == "isc" && c.DHCP.Socket != "" {
			bad("dhcp.socket", "ISC dhcpd has none")
		}
		if c.DHCP.Kind == "kea" && len(c.DHCP.Status) > 0 {
			bad("dhcp.status", "Kea is asked on its control socket: see dhcp.socket")
		}
		for key, path := range map[string]string{"dhcp.file": c.DHCP.File, "dhcp.main_config": c.DHCP.MainConfig, "dhcp.socket": c.DHCP.Socket} {
			if path != "" && !filepath.IsAbs(path) {
				bad(key, "%q is not an absolute path", path)
			}
		}
	default:
		bad("dhcp.kind", "%q is not isc, kea or none", c.DHCP.Kind)
	}
}

func (c *config) checkDNS(bad func(key, format string, args ...any)) {
	switch c.DNS.Kind {
	case "none":
		return
	case "dnsmasq":
	default:
		bad("dns.kind", "%q is not dnsmasq or none", c.DNS.Kind)
		return
	}
	if err := baadal.CheckDomain(c.DNS.Domain); err != nil {
		bad("dns.domain", "%q is not a domain for the names of VMs, as cloud.example.org", c.DNS.Domain)
	}
	if c.DNS.Address == "" {
		bad("dns.address", "where is the name server? Give the address of its sshd, or %s", localBox)
	}
	if c.DNS.HostKey == "" && c.DNS.Address != localBox {
		bad("dns.host_key", "pin the key of its sshd: ssh-keyscan -t ed25519 %s", c.DNS.Address)
	}
	if c.DNS.File != "" && !filepath.IsAbs(c.DNS.File) {
		bad("dns.file", "%q is not an absolute path", c.DNS.File)
	}
	if _, _, err := net.SplitHostPort(c.DNS.Server); c.DNS.Server != "" && err != nil {
		bad("dns.server", "%q is not host:port", c.DNS.Server)
	}
}

// domain is what names of VMs are below; none without a name server.
func (c *config) domain() string {
	if c.DNS.Kind == "none" {
		return ""
	}
	return c.DNS.Domain
}

func (c *config) vncAddress() (netip.Addr, error) { return netip.ParseAddr(c.VNC.Address) }

var (
	interfaceRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)
	tableRE     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
)

func (c *config) checkNAT(bad func(key, format string, args ...any)) {
	n := c.NAT
	if n.Address == "" {
		if n.HostKey != "" || n.Interface != "" || n.Public != "" {
			bad("nat.address", "where is the NAT box? Give the address of its sshd")
		}
		return
	}
	if n.HostKey == "" {
		bad("nat.host_key", "pin the key of its sshd: ssh-keyscan -t ed25519 %s", n.Address)
	}
	if !interfaceRE.MatchString(n.Interface) {
		bad("nat.interface", "%q is not the name of its network interface on the outside", n.Interface)
	}
	if ip, err := netip.ParseAddr(n.Public); err != nil || !ip.Is4() {
		bad("nat.public", "%q is not its own IPv4 address on the outside", n.Public)
	}
	if a, err := c.vncAddress(); err == nil && !a.Is4() {
		bad("vnc.address", "%q is not an IPv4 address, and the NAT box leads VNC clients to no other", c.VNC.Address)
	}
	if !tableRE.MatchString(n.Table) {
		bad("nat.table", "%q is not a name for an nftables table: small letters, digits and underscores", n.Table)
	}
}

func (c *config) logLevel() (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(c.Log.Level))
	return level, err
}

func (c *config) logger() *slog.Logger {
	level, _ := c.logLevel()
	opt := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}

func (c *config) proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}
