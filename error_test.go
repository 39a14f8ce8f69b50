package baadal_test

import (
	"errors"
	"fmt"
	"testing"

	"baadal"
)

func TestKindCodeMessage(t *testing.T) {
	t.Parallel()
	secret := errors.New("dial tcp 10.0.0.5:5432: password=hunter2")
	busy := baadal.Errorf(baadal.Conflict, "%s is busy", "ml").WithCode("vm_busy").WithDetail("step %q", "start")
	for _, c := range []struct {
		name    string
		err     error
		kind    baadal.Kind
		code    string
		message string
	}{
		{"nothing", nil, "", "", ""},
		{"unknown", secret, baadal.Internal, "internal", "internal error"},
		{"wrapped unknown", fmt.Errorf("define domain: %w", secret), baadal.Internal, "internal", "internal error"},
		{"internal", baadal.Errorf(baadal.Internal, "no task for %s", secret), baadal.Internal, "internal", "internal error"},
		{"internal with a cause of ours", fmt.Errorf("x: %w", &baadal.Error{Kind: baadal.Internal, Title: "defect", Err: busy}), baadal.Internal, "internal", "internal error"},
		{"ours", busy, baadal.Conflict, "vm_busy", `ml is busy: step "start"`},
		{"wrapped ours", fmt.Errorf("start vm: %w", busy), baadal.Conflict, "vm_busy", `ml is busy: step "start"`},
		{"kind as code", baadal.Errorf(baadal.Stale, "changed"), baadal.Stale, "stale", "changed"},
		{"cause in the words", baadal.Errorf(baadal.Unavailable, "cannot listen: %w", errors.New("in use")), baadal.Unavailable, "unavailable", "cannot listen: in use"},
		{"cause beside the words", &baadal.Error{Kind: baadal.Unavailable, Title: "no answer", Err: errors.New("timeout")}, baadal.Unavailable, "unavailable", "no answer: timeout"},
		{"detail instead of the cause", &baadal.Error{Kind: baadal.Unavailable, Title: "no answer", Detail: "tried 3 times", Err: secret}, baadal.Unavailable, "unavailable", "no answer: tried 3 times"},
		{"only a cause", &baadal.Error{Kind: baadal.Invalid, Err: errors.New("odd")}, baadal.Invalid, "invalid", "odd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := baadal.KindOf(c.err); got != c.kind {
				t.Errorf("kind %q, want %q", got, c.kind)
			}
			if got := baadal.CodeOf(c.err); got != c.code {
				t.Errorf("code %q, want %q", got, c.code)
			}
			if got := baadal.Message(c.err); got != c.message {
				t.Errorf("message %q, want %q", got, c.message)
			}
		})
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("timeout")
	err := fmt.Errorf("look: %w", baadal.Errorf(baadal.Unavailable, "h1: %w", cause).WithField("host").WithTask(7).WithNext("Wait", "sleep 1"))
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	e, ok := errors.AsType[*baadal.Error](err)
	if !ok || e.Field != "host" || e.TaskID != 7 || len(e.Next) != 1 || e.Next[0] != (baadal.Offer{Label: "Wait", Action: "sleep 1"}) {
		t.Errorf("got %+v", e)
	}
}
