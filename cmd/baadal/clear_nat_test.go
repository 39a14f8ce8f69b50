package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"baadal"
)

// TestClearNATNeedsABox: what it does to a real box is tested on the lab.
func TestClearNATNeedsABox(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	config := filepath.Join(state, "baadal.yaml")
	if err := os.WriteFile(config, []byte("log: {level: error}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := clearNAT(t.Context(), io.Discard, serveOptions{config: config, state: state})
	if e, ok := errors.AsType[*baadal.Error](err); !ok || e.Kind != baadal.Invalid || e.Field != "nat.address" {
		t.Errorf("without a NAT box: %v", err)
	}
}
