package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// daemonLimit is how long a daemon may take to answer, on a busy machine.
const daemonLimit = time.Minute

// bringUp gives a node that is on its cables and its daemons, and returns when they answer.
func (l *Lab) bringUp(ctx context.Context, s *state, node string) error {
	n := s.Nodes[node]
	if err := l.lay(ctx, node, n.Process.PID); err != nil {
		return err
	}
	jobs := []func(context.Context) error{}
	if !n.Cut {
		jobs = append(jobs, func(ctx context.Context) error { return l.plug(ctx, node) })
	}
	if node != Controller && node != Outside {
		jobs = append(jobs, func(ctx context.Context) error { return l.startSSHD(ctx, node, n.Process) })
	}
	if node == DHCP {
		jobs = append(jobs,
			func(ctx context.Context) error { return l.startDHCP(ctx, s.DHCP) },
			func(ctx context.Context) error { return l.run(ctx, node, "/etc/restart-dnsmasq") })
	}
	if hostNumber(node) > 0 {
		jobs = append(jobs, func(ctx context.Context) error {
			// A guest that came before the switch is ready would lose its port.
			if err := l.startHostSwitch(ctx, node); err != nil {
				return err
			}
			return l.startLibvirtd(ctx, node)
		})
	}
	return together(ctx, jobs...)
}

func (l *Lab) startSSHD(ctx context.Context, node string, p process) error {
	if err := l.run(ctx, node, "/usr/sbin/sshd", "-E", "/var/log/sshd.log"); err != nil {
		return fmt.Errorf("start sshd: %w", err)
	}
	// sshd goes into the background first and listens then; its pid file comes after that
	pidFile := filepath.Join("/proc", strconv.Itoa(p.PID), "root/run/sshd.pid")
	return l.await(ctx, "sshd of "+node, func() error {
		_, err := os.Stat(pidFile)
		return err
	})
}

func (l *Lab) startOpenVSwitch(ctx context.Context, node string) error {
	// The lock's file stays behind when the node loses its power.
	_ = os.Remove(l.NodePath(node, "/etc/openvswitch/.conf.db.~lock~"))
	commands := [][]string{
		{
			"ovsdb-server", "/etc/openvswitch/conf.db", "--remote=punix:/run/openvswitch/db.sock", "--pidfile", "--detach",
			"--log-file=/var/log/openvswitch/ovsdb-server.log", "-vconsole:off",
		},
		{
			"ovs-vsctl", "--no-wait", "init", "--", "set", "Open_vSwitch", ".", "other_config:n-handler-threads=1",
			"other_config:n-revalidator-threads=1",
		},
		{
			"ovs-vswitchd", "unix:/run/openvswitch/db.sock", "--pidfile", "--detach",
			"--log-file=/var/log/openvswitch/ovs-vswitchd.log", "-vconsole:off",
		},
	}
	if !exists(l.NodePath(node, "/etc/openvswitch/conf.db")) {
		create := []string{"ovsdb-tool", "create", "/etc/openvswitch/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"}
		commands = append([][]string{create}, commands...)
	}
	for _, argv := range commands {
		if err := l.run(ctx, node, argv...); err != nil {
			return fmt.Errorf("start Open vSwitch: %w", err)
		}
	}
	return nil
}

// startHostSwitch starts a host's Open vSwitch, with its bridge, and takes away the ports of guests that were running
// when the host lost its power.
func (l *Lab) startHostSwitch(ctx context.Context, node string) error {
	known := exists(l.NodePath(node, "/etc/openvswitch/conf.db"))
	if err := l.startOpenVSwitch(ctx, node); err != nil {
		return err
	}
	if known {
		var out strings.Builder
		err := l.runWith(ctx, node, ExecOptions{Stdout: &out}, "ovs-vsctl", "list-ports", HostBridge)
		if err != nil {
			return fmt.Errorf("clear stale ports: %w", err)
		}
		for port := range strings.FieldsSeq(out.String()) {
			if !strings.HasPrefix(port, "vnet") {
				continue
			}
			if err := l.run(ctx, node, "ovs-vsctl", "--if-exists", "del-port", HostBridge, port); err != nil {
				return fmt.Errorf("clear stale ports: %w", err)
			}
		}
	}
	err := l.run(ctx, node, "ovs-vsctl", "--may-exist", "add-br", HostBridge, "--",
		"set", "bridge", HostBridge, "datapath_type=netdev", "--", "--may-exist", "add-port", HostBridge, "trunk0")
	if err != nil {
		return fmt.Errorf("make host bridge: %w", err)
	}
	return nil
}

func (l *Lab) startLibvirtd(ctx context.Context, node string) error {
	if err := l.run(ctx, node, "libvirtd", "-d", "-f", "/etc/libvirt/libvirtd.conf"); err != nil {
		return fmt.Errorf("start libvirtd: %w", err)
	}
	return l.await(ctx, "libvirtd of "+node, func() error {
		var active strings.Builder
		err := l.runWith(ctx, node, ExecOptions{Stdout: &active}, "virsh", "-q", "-c", "qemu:///system", "net-list", "--name")
		if err == nil && !slices.Contains(strings.Fields(active.String()), HostNetwork) {
			err = fmt.Errorf("libvirt network %s is not active", HostNetwork)
		}
		return err
	})
}

// await asks again and again until the answer is no error, and then tells the last one.
func (l *Lab) await(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, daemonLimit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, err), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
