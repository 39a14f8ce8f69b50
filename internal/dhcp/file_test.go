package dhcp_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/dhcp"
	"baadal/internal/ssh"
)

func TestParseISC(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]baadal.Reservation{
		"":            nil,
		"# nothing\n": nil,
		"host a { hardware ethernet a2:00:00:00:00:01; fixed-address 10.0.0.1; } # x\nhost b{hardware  ethernet\nA2:00:00:00:00:02 ;fixed-address 10.0.0.2;}": {
			{Name: "a", MAC: "A2:00:00:00:00:01", IP: "10.0.0.1"}, {Name: "b", MAC: "A2:00:00:00:00:02", IP: "10.0.0.2"},
		},
	} {
		got, err := dhcp.ParseISC([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{"host a {", "subnet 10.0.0.0 netmask 255.0.0.0 {}", "host a { hardware ethernet x; fixed-address 10.0.0.1; }"} {
		if got, err := dhcp.ParseISC([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseKea(t *testing.T) {
	t.Parallel()
	const one = `{"hw-address":"a2:00:00:00:00:01","ip-address":"10.0.0.1","user-context":{"name":"a"}}`
	for text, want := range map[string][]baadal.Reservation{
		"":                            nil,
		"# nothing\n[\n]\n// x\n":     {},
		"[" + one + "]":               {{Name: "a", MAC: "A2:00:00:00:00:01", IP: "10.0.0.1"}},
		"# x\n [\n " + one + "\n ]\n": {{Name: "a", MAC: "A2:00:00:00:00:01", IP: "10.0.0.1"}},
	} {
		got, err := dhcp.ParseKea([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{
		"[" + one, one, "[" + one + "] []", strings.Replace("["+one+"]", "10.0.0.1", "x", 1), `[{"hw-address":"a2:00:00:00:00:01"}]`,
		strings.Replace("["+one+"]", "{", `{"next-server":"10.0.0.9",`, 1),
	} {
		if got, err := dhcp.ParseKea([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParseKea(f *testing.F) {
	f.Add([]byte(`[{"hw-address":"a2:00:00:00:00:01","ip-address":"10.0.0.1","user-context":{"name":"a"}}]`))
	f.Add([]byte("# x\n[\n]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := dhcp.ParseKea(text)
		if err != nil {
			return
		}
		// What was read is written as something that reads as the same.
		var sent []byte
		s := dhcp.NewKea(runner(func(_ context.Context, c ssh.Command) (res ssh.Result, err error) {
			if c.Stdin == nil { // a look, which sees something else
				return ssh.Result{}, nil
			}
			sent, err = io.ReadAll(c.Stdin)
			return ssh.Result{Stdout: []byte(`{"result": 0} {"result": 3}`)}, err
		}), boxHost, dhcp.Options{})
		if err := s.Apply(t.Context(), rs); err != nil {
			if baadal.CodeOf(err) != "duplicate_reservation" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if again, err := dhcp.ParseKea(sent); err != nil || len(again) != len(rs) {
			t.Fatalf("%q became %q: %v", text, sent, err)
		}
	})
}

func FuzzParseISC(f *testing.F) {
	f.Add([]byte("host a { hardware ethernet a2:00:00:00:00:01; fixed-address 10.0.0.1; }\n"))
	f.Add([]byte("# x\nhost a{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := dhcp.ParseISC(text)
		if err != nil {
			return
		}
		// What was read can be written, unless it holds doubles.
		s := dhcp.NewISC(runner(func(context.Context, ssh.Command) (ssh.Result, error) { return ssh.Result{}, nil }), boxHost, dhcp.Options{})
		if err := s.Apply(t.Context(), rs); err != nil && baadal.CodeOf(err) != "duplicate_reservation" {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
