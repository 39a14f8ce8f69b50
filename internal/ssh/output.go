package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

var errSealed = errors.New("the call is over")

// sink takes a stream of output: passes it on, or collects it up to a limit.
type sink struct {
	to    io.Writer
	keep  bool // collect what is passed on as well
	limit int
	full  func(error) // called when the output cannot be taken; if nil, the rest is dropped

	mu     sync.Mutex
	sealed bool
	buf    bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return 0, errSealed
	}
	if s.to != nil {
		n, err := s.to.Write(b)
		if err != nil {
			s.full(fmt.Errorf("write output: %w", err))
		}
		if err != nil || !s.keep {
			return n, err
		}
	}
	room := s.limit - s.buf.Len()
	s.buf.Write(b[:min(room, len(b))])
	if room < len(b) && s.full != nil {
		err := fmt.Errorf("output is longer than %d bytes", s.limit)
		s.full(err)
		return room, err
	}
	return len(b), nil
}

func (s *sink) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

func (s *sink) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.buf.Bytes())
}

// Every command first tells its process id on standard error, so that it can be
// killed later: sshd starts a session's shell as the leader of a process group
// of its own, and the program takes the shell's place.
const (
	leaderMark   = "baadal-process-group="
	leaderPrefix = "echo " + leaderMark + "$$ >&2; "
)

// leaderWriter looks for the leader's line in what comes on standard error,
// which may begin with words of the login shell's start-up files.
type leaderWriter struct {
	found chan<- string
	done  bool
	seen  []byte
}

func (w *leaderWriter) Write(b []byte) (int, error) {
	if w.done {
		return len(b), nil
	}
	w.seen = append(w.seen, b...)
	if _, id, _, ok := cutLeader(w.seen); ok {
		w.found <- id
	} else if len(w.seen) < stderrLimit {
		return len(b), nil
	}
	w.done, w.seen = true, nil
	return len(b), nil
}

// withoutLeader takes the leader's line out.
func withoutLeader(b []byte) []byte {
	before, _, after, ok := cutLeader(b)
	if !ok {
		return b
	}
	return append(before, after...)
}

// cutLeader finds the leader's line and what is before and after it.
func cutLeader(b []byte) (before []byte, id string, after []byte, ok bool) {
	before, rest, ok := bytes.Cut(b, []byte(leaderMark))
	if !ok {
		return nil, "", nil, false
	}
	num, after, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || len(num) == 0 || len(bytes.Trim(num, "0123456789")) > 0 {
		return nil, "", nil, false
	}
	return before, string(num), after, true
}
