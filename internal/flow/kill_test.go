package flow_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"baadal"
	"baadal/internal/flow"
	"baadal/internal/needs"
)

// laying is set for a process that lays rules until it is killed: the folder of
// the machine.
const laying = "BAADAL_TEST_FLOW_LAYING"

// large is one of two policies with some thousand rules each.
func large(which int) baadal.FlowRead {
	return func(macs []string) (baadal.FlowPolicy, error) {
		p, err := read(macs)
		for i := range p.NICs {
			p.NICs[i].Firewalled = true
			for n := range 100 {
				first := 1001 + 1000*which + n
				p.NICs[i].Rules = append(p.NICs[i].Rules, baadal.SecRule{
					Direction: baadal.RuleIn, Protocol: baadal.ProtocolTCP, First: first, Last: first + 30001, Peer: fmt.Sprintf("10.%d.%d.0/24", which, n),
				})
			}
		}
		return p, err
	}
}

// TestKilledWhileRulesAreReplaced: whenever a controller is killed, and whether
// what it runs on the host dies with it or goes on alone, the switch has one whole
// set of rules: the old one or the new one.
func TestKilledWhileRulesAreReplaced(t *testing.T) {
	needs.Time(t)
	if dir := os.Getenv(laying); dir != "" {
		layUntilKilled(t, dir)
	}
	const rounds = 20
	m := newMachine(t)
	m.plug("a0", macA, uuidA, 10)
	var sets [2]string
	for i := range sets {
		if err := flow.New(m, flow.Options{RunDir: m.dir}).Apply(t.Context(), host, large(i)); err != nil {
			t.Fatal(err)
		}
		sets[i] = m.flows()
	}
	if len(sets[0]) < 100_000 || sets[0] == sets[1] {
		t.Fatalf("sets of %d and %d bytes: there is no time to be killed in", len(sets[0]), len(sets[1]))
	}
	var seen [2]int
	for round := range rounds {
		group := killed(t, m.dir, round%2 == 0)
		for range 3 {
			switch m.flows() {
			case sets[0]:
				seen[0]++
			case sets[1]:
				seen[1]++
			default:
				t.Fatalf("round %d: the switch has neither the old rules nor the new ones", round)
			}
		}
		if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err) // what went on alone has had its time
		}
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("%v: only one set was ever there", seen)
	}
	t.Logf("the one set was found %d times, the other %d times", seen[0], seen[1])
}

// killed starts a controller that lays one set after the other, and kills it at
// some moment: alone, or with all that it runs. It returns its process group.
func killed(t *testing.T, dir string, alone bool) (group int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileRulesAreReplaced$") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), laying+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group = cmd.Process.Pid
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "laying\n" {
		t.Errorf("it says %q: %v", line, err)
	}
	time.Sleep(rand.N(400 * time.Millisecond)) //nolint:gosec // any moment
	victim := -group
	if alone {
		victim = group
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	return group
}

// layUntilKilled is the controller.
func layUntilKilled(t *testing.T, dir string) {
	t.Helper()
	m := at(t, dir)
	fmt.Println("laying")
	for i := rand.N(2); ; i++ { //nolint:gosec // either
		if err := flow.New(m, flow.Options{RunDir: dir}).Apply(t.Context(), host, large(i%2)); err != nil {
			t.Fatal(err)
		}
	}
}

// A bridge is empty between a change of its fail mode and its new rules: whoever
// ends the script just then, as a controller does that is stopped, waits for them.
func TestStoppedBetweenModeAndRules(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"ovs-vsctl": `kill -TERM "$PPID"`,
		"ovs-ofctl": `echo "$*" >>"$MARK"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil { //nolint:gosec // to be run
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", flow.ReplaceScript, "baadal", dir, bridge, "secure", "nx-match") //nolint:gosec // ours
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "MARK=" + filepath.Join(dir, "mark")}
	cmd.Stdin = strings.NewReader("priority=0,actions=drop\n# end\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	done, err := os.ReadFile(filepath.Join(dir, "mark"))
	if err != nil || !strings.Contains(string(done), "replace-flows "+bridge) {
		t.Errorf("%v: no rules were laid: %q", err, done)
	}
}
