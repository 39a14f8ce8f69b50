// Package cloudinit makes what a new VM learns at its first boot: a NoCloud seed,
// a small ISO image that cloud-init (and everything that speaks its NoCloud
// format) finds by its label. It gives the host name, the owner's SSH keys and a
// console password; the network is left to DHCP.
//
// The package does no I/O but for a temporary folder that it removes, and must
// not know how the seed reaches the VM.
package cloudinit

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/kdomanski/iso9660"

	"baadal"
)

// Config is what a VM is told.
type Config struct {
	InstanceID string   // the VM's UUID; a guest that sees another one sets itself up anew
	Hostname   string   // any name; made fit by Hostname
	SSHKeys    []string // authorized_keys lines, for the image's default user and for root
	Password   string   // for the image's default user on the console, never over SSH; none if empty
}

// Label is the volume label by which guests find the seed.
const Label = "cidata"

// metaData and userData are the two files of a seed, in their order.
type metaData struct {
	InstanceID    scalar `yaml:"instance-id"`
	LocalHostname scalar `yaml:"local-hostname"`
}

type userData struct {
	Hostname    scalar    `yaml:"hostname"`
	ManageHosts bool      `yaml:"manage_etc_hosts"`
	DisableRoot bool      `yaml:"disable_root"`
	SSHPassword bool      `yaml:"ssh_pwauth"`
	Password    scalar    `yaml:"password,omitempty"`
	ChPasswd    *chPasswd `yaml:"chpasswd,omitempty"`
	SSHKeys     []string  `yaml:"ssh_authorized_keys,omitempty"`
}

type chPasswd struct {
	Expire bool `yaml:"expire"`
}

// scalar is a string that stays one for every reader: cloud-init's YAML 1.1
// takes no, 0123 and 2024-01-01 for something else where YAML 1.2 does not.
type scalar string

var (
	plainRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	wordRE  = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
)

// MarshalYAML writes words as they are, for simple readers, and all else in
// quotes. Only printable ASCII gets here.
func (s scalar) MarshalYAML() ([]byte, error) {
	if plainRE.MatchString(string(s)) && !wordRE.MatchString(string(s)) {
		return []byte(s), nil
	}
	return []byte(strconv.Quote(string(s))), nil
}

// Seed makes the ISO image. Equal configurations make equal images. Keys that
// baadal.CheckSSHKey refuses are refused; characters that cannot be printed
// become question marks in a key's comment.
func Seed(c Config) ([]byte, error) {
	meta, user, err := c.files()
	if err != nil {
		return nil, err
	}
	w, err := iso9660.NewWriter()
	if err != nil {
		return nil, fmt.Errorf("make seed: %w", err)
	}
	iso, err := writeISO(w, meta, user)
	if cleanErr := w.Cleanup(); err == nil {
		err = cleanErr
	}
	if err != nil {
		return nil, fmt.Errorf("make seed: %w", err)
	}
	return iso, nil
}

// files renders meta-data and user-data.
func (c Config) files() (meta, user []byte, err error) {
	if c.InstanceID == "" || strings.ContainsFunc(c.InstanceID, func(r rune) bool { return r > '~' || r <= ' ' }) {
		return nil, nil, baadal.Errorf(baadal.Invalid, "instance id %q is not usable", c.InstanceID)
	}
	u := userData{Hostname: scalar(Hostname(c.Hostname)), ManageHosts: true, Password: scalar(c.Password)}
	if c.Password != "" {
		if strings.ContainsFunc(c.Password, func(r rune) bool { return r > '~' || r <= ' ' }) {
			return nil, nil, baadal.Errorf(baadal.Invalid, "the console password has characters that cannot be typed everywhere")
		}
		u.ChPasswd = &chPasswd{Expire: false}
	}
	for _, k := range c.SSHKeys {
		if err := baadal.CheckSSHKey(k); err != nil {
			return nil, nil, err
		}
		u.SSHKeys = append(u.SSHKeys, printable(k))
	}
	if meta, err = yaml.Marshal(metaData{InstanceID: scalar(c.InstanceID), LocalHostname: u.Hostname}); err != nil {
		return nil, nil, fmt.Errorf("render meta-data: %w", err)
	}
	if user, err = yaml.MarshalWithOptions(u, yaml.IndentSequence(true)); err != nil {
		return nil, nil, fmt.Errorf("render user-data: %w", err)
	}
	return meta, append([]byte("#cloud-config\n"), user...), nil
}

// Hostname makes a host name (RFC 1123, one label, lower case) of any name; "vm"
// if nothing of it can be used.
func Hostname(name string) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	label = strings.Trim(label[:min(len(label), 63)], "-")
	if label == "" {
		return "vm"
	}
	return label
}

// printable replaces what YAML readers do not agree about: invalid UTF-8,
// control characters, the line breaks of Unicode.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' && !unicode.IsLetter(r) || r == unicode.ReplacementChar || r > 0xffff {
			return '?'
		}
		return r
	}, s)
}

func writeISO(w *iso9660.ImageWriter, meta, user []byte) ([]byte, error) {
	for name, content := range map[string][]byte{"meta-data": meta, "user-data": user} {
		if err := w.AddFile(bytes.NewReader(content), name); err != nil {
			return nil, err
		}
	}
	var iso bytes.Buffer
	if err := w.WriteTo(&iso, Label); err != nil {
		return nil, err
	}
	eraseTimes(iso.Bytes())
	return iso.Bytes(), nil
}

// eraseTimes sets the volume's four times to "not specified" (ECMA-119 8.4.26):
// sixteen zero digits and a zero byte each.
func eraseTimes(iso []byte) {
	const (
		descriptor = 16 * 2048
		first      = descriptor + 813
		each       = 17
	)
	for i := range 4 {
		copy(iso[first+i*each:], "0000000000000000\x00")
	}
}

// Empty makes an ISO image for a VM that is told nothing: no guest takes it for
// a seed.
func Empty() ([]byte, error) {
	w, err := iso9660.NewWriter()
	if err != nil {
		return nil, fmt.Errorf("make empty seed: %w", err)
	}
	var iso bytes.Buffer
	err = w.WriteTo(&iso, "none")
	if cleanErr := w.Cleanup(); err == nil {
		err = cleanErr
	}
	if err != nil {
		return nil, fmt.Errorf("make empty seed: %w", err)
	}
	eraseTimes(iso.Bytes())
	return iso.Bytes(), nil
}
