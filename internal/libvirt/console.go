package libvirt

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	golibvirt "github.com/digitalocean/go-libvirt"

	"baadal/internal/ssh"
)

// consoleMaker makes the folders for VMs' sockets on one host. What is asked for
// while a command is at work is made together by the next one: many VMs that are
// defined at once cost few commands.
type consoleMaker struct {
	mu      sync.Mutex
	waiting []*consoleWish
	busy    bool
	owner   []string // QEMU's user and group, as arguments of install
	asked   bool     // owner is known
}

// consoleWish is a folder that somebody waits for; err may be read once done is
// closed.
type consoleWish struct {
	dir  string
	done chan struct{}
	err  error
}

// mostConsoles is how many folders one command makes.
const mostConsoles = 100

// makeConsole makes the folder for a VM's sockets, for QEMU's user alone: QEMU
// makes the sockets themselves open to everyone. Once per connection is enough.
func (h *Hypervisor) makeConsole(ctx context.Context, l *link, dir string) error {
	if h.pool == nil || dir == "" || l.hasConsole(dir) {
		return nil
	}
	m := &l.maker
	w := &consoleWish{dir: dir, done: make(chan struct{})}
	m.mu.Lock()
	m.waiting = append(m.waiting, w)
	begin := !m.busy
	m.busy = true
	m.mu.Unlock()
	if begin {
		go h.makeConsoles(context.WithoutCancel(ctx), l)
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return interrupted(ctx, l.host.Name, "make console folder")
	}
}

// makeConsoles works until nobody waits.
func (h *Hypervisor) makeConsoles(ctx context.Context, l *link) {
	m := &l.maker
	for {
		m.mu.Lock()
		n := min(len(m.waiting), mostConsoles)
		wishes := m.waiting[:n:n]
		m.waiting = m.waiting[n:]
		m.busy = n > 0
		m.mu.Unlock()
		if n == 0 {
			return
		}
		err := h.installConsoles(ctx, l, wishes)
		for _, w := range wishes {
			if w.err = err; err == nil {
				l.setConsole(w.dir, true)
			}
			close(w.done)
		}
	}
}

func (h *Hypervisor) installConsoles(ctx context.Context, l *link, wishes []*consoleWish) error {
	m := &l.maker // only one goroutine comes here at a time
	if !m.asked {
		owner, err := call(ctx, l, "make console folder", qemuUser)
		if err != nil {
			return err
		}
		m.owner, m.asked = owner, true
	}
	argv := append([]string{"install", "-d", "-m", "0700"}, m.owner...)
	argv = append(argv, "--")
	for _, w := range wishes {
		argv = append(argv, w.dir)
	}
	if _, err := h.pool.RunOK(ctx, l.host, ssh.Command{Argv: argv}); err != nil {
		return fmt.Errorf("make console folder: %w", err)
	}
	return nil
}

// qemuUser asks which user and group QEMU runs as, as arguments of install;
// none if that is root or libvirt does not tell.
func qemuUser(rpc *golibvirt.Libvirt) ([]string, error) {
	caps, err := capabilities(rpc)
	if err != nil {
		return nil, err
	}
	for _, m := range caps.Host.SecModel {
		if m.Name != "dac" || len(m.Labels) == 0 {
			continue
		}
		user, group, ok := strings.Cut(m.Labels[0].Value, ":")
		user, group = strings.TrimPrefix(user, "+"), strings.TrimPrefix(group, "+")
		if _, err := strconv.ParseUint(user+group, 10, 64); ok && err == nil {
			return []string{"-o", user, "-g", group}, nil
		}
	}
	return nil, nil
}

// removeConsole removes the files that QEMU made in the folder, then the folder
// if nothing else is in it.
func (h *Hypervisor) removeConsole(ctx context.Context, l *link, dir string) error {
	if h.pool == nil || dir == "" {
		return nil
	}
	l.setConsole(dir, false)
	const script = `rm -f -- "$1/vnc" "$1/serial" "$1/serial.log"; rmdir -- "$1" 2>/dev/null; exit 0`
	if _, err := h.pool.RunOK(ctx, l.host, ssh.Command{Argv: []string{"sh", "-c", script, "baadal", dir}}); err != nil {
		return fmt.Errorf("remove console folder: %w", err)
	}
	return nil
}

func (l *link) hasConsole(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.consoles[dir]
}

func (l *link) setConsole(dir string, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if there {
		l.consoles[dir] = true
	} else {
		delete(l.consoles, dir)
	}
}
