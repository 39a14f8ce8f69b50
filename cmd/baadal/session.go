package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"baadal"
)

// credential is what is kept of one sign-in.
type credential struct {
	Username string `json:"username"`
	Token    string `json:"token"`
	TokenID  int64  `json:"token_id"`
}

// keyring is the file credentials.json: one credential per server.
type keyring struct {
	Current string                `json:"current,omitempty"` // the server last signed in to
	Servers map[string]credential `json:"servers"`
}

// keyringPath returns where the credentials lie.
func (c *cli) keyringPath() (string, error) {
	dir := c.getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := c.getenv("HOME")
		if home == "" {
			return "", errors.New("neither XDG_CONFIG_HOME nor HOME is set: there is no place for credentials")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "baadal", "credentials.json"), nil
}

// loadKeyring reads the credentials; a missing file is an empty keyring.
func (c *cli) loadKeyring() (keyring, error) {
	k := keyring{Servers: map[string]credential{}}
	path, err := c.keyringPath()
	if err != nil {
		return k, nil //nolint:nilerr // without a home there are no credentials; saving says so
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, fmt.Errorf("read credentials: %w", err)
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return k, fmt.Errorf("read credentials: %s: %w", path, err)
	}
	if k.Servers == nil {
		k.Servers = map[string]credential{}
	}
	return k, nil
}

// saveKeyring replaces the file in one step; only its owner can read it.
func (c *cli) saveKeyring(k keyring) error {
	path, err := c.keyringPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".credentials-*") // 0600
	if err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save credentials: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// serverURL returns the server in force: --server, BAADAL_SERVER, the one last
// signed in to, or the default.
func (c *cli) serverURL(k keyring) (string, error) {
	for _, s := range []string{c.flags.server, c.getenv("BAADAL_SERVER"), k.Current} {
		if s != "" {
			return normalURL(s)
		}
	}
	return defaultServer, nil
}

// normalURL checks a server's URL and writes it in the one way that
// credentials are filed under.
func normalURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", usagef("%q is not the URL of a server: give it as https://cloud.example.org", s)
	}
	return strings.ToLower(u.Scheme+"://"+u.Host) + strings.TrimRight(u.Path, "/"), nil
}

// encrypted reports whether what is sent to a server cannot be read on the way.
func encrypted(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// credentials returns the server in force and the token for it: --token-file,
// BAADAL_TOKEN, or what login stored for exactly this server. The token is
// empty if there is none.
func (c *cli) credentials() (server, token string, err error) {
	k, err := c.loadKeyring()
	if err != nil {
		return "", "", err
	}
	if server, err = c.serverURL(k); err != nil {
		return "", "", err
	}
	c.server = server
	if c.flags.tokenFile != "" {
		b, err := os.ReadFile(c.flags.tokenFile)
		if err != nil {
			return "", "", fmt.Errorf("read token: %w", err)
		}
		return server, strings.TrimSpace(string(b)), nil
	}
	if t := c.getenv("BAADAL_TOKEN"); t != "" {
		return server, strings.TrimSpace(t), nil
	}
	if cred, ok := k.Servers[server]; ok {
		return server, cred.Token, nil
	}
	return server, "", &baadal.Error{
		Kind: baadal.Unauthenticated, Title: "not signed in to " + server,
		Next: []baadal.Offer{{Label: "Sign in", Action: strings.TrimSpace("baadal login " + c.serverFlag())}},
	}
}

// serverFlag returns the --server flag that was given, to be repeated in an
// offer.
func (c *cli) serverFlag() string {
	if c.flags.server == "" {
		return ""
	}
	return "--server " + c.flags.server
}
