package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// process is a process that cannot be mistaken for a later one with the same number.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, as /proc/PID/stat has it
}

// findProcess gives the process that has the number now.
func findProcess(pid int) (process, error) {
	start, _, err := readStat(pid)
	return process{PID: pid, Start: start}, err
}

// alive says whether this very process still runs; a zombie does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	start, state, err := readStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// kill ends the process with SIGKILL and returns when it is gone. A process that is gone already is no error.
func (p process) kill(limit time.Duration) error {
	if !p.alive() {
		return nil
	}
	// os.FindProcess holds a pidfd: looked at again after that, the number cannot pass to another process.
	proc, err := os.FindProcess(p.PID)
	if err != nil {
		return nil //nolint:nilerr // no such process: that is what we want
	}
	defer func() { _ = proc.Release() }()
	if !p.alive() {
		return nil
	}
	if err := proc.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	for end := time.Now().Add(limit); p.alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("kill process %d: it is still there after %s", p.PID, limit)
		}
	}
	return nil
}

func readStat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return parseStat(b)
}

// parseStat reads the start time (field 22) and the state (field 3). The second field, the name in parentheses, may
// itself hold spaces and parentheses.
func parseStat(b []byte) (start uint64, state byte, err error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return 0, 0, errors.New("read process status: no name in it")
	}
	fields := bytes.Fields(b[end+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("read process status: %d fields", len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("read process status: %w", err)
	}
	return start, fields[0][0], nil
}
