package probe

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"baadal"
	"baadal/internal/ssh"
)

// startTime is the field of /proc/PID/stat, counted from 1, that says when the
// process began.
const startTime = 22

const bootLimit = 10 * time.Second

// Boot returns a word that is another one after each boot of the host: the
// kernel's boot id and when its first process began, for a host that shares its
// kernel with others.
func (p *Prober) Boot(ctx context.Context, host baadal.Host) (string, error) {
	res, err := p.conn.Run(ctx, host, ssh.Command{Argv: []string{"cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"}, Timeout: bootLimit})
	if err != nil {
		return "", fmt.Errorf("ask for boot: %w", err)
	}
	return parseBoot(res.Stdout)
}

// parseBoot reads the boot id and the line of the first process. Its name, in
// brackets, may hold blanks.
func parseBoot(out []byte) (string, error) {
	id, stat, _ := bytes.Cut(out, []byte("\n"))
	_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(")"))
	fields := bytes.Fields(rest)
	const before = 2 // the number and the name
	if !ok || len(id) == 0 || len(fields) < startTime-before {
		return "", fmt.Errorf("ask for boot: %w", errBoot(out))
	}
	return string(bytes.TrimSpace(id)) + " " + string(fields[startTime-before-1]), nil
}

// errBoot is an answer that is none.
type errBoot []byte

func (e errBoot) Error() string { return fmt.Sprintf("the host printed %.200q", []byte(e)) }
