package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp keeps the help of every command in one file a noun, so that every
// change of the command line is seen.
func TestHelp(t *testing.T) {
	t.Parallel()
	c, out, _ := quietCLI()
	root := c.root()
	root.SetOut(out)
	if err := root.Help(); err != nil {
		t.Fatal(err)
	}
	golden(t, "help/baadal.golden", out.Bytes())
	help := func(cmd *cobra.Command) []byte {
		var b bytes.Buffer
		var walk func(*cobra.Command)
		walk = func(cmd *cobra.Command) {
			out.Reset()
			if err := cmd.Help(); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "$ %s --help\n%s\n", cmd.CommandPath(), out)
			for _, sub := range cmd.Commands() {
				walk(sub)
			}
		}
		walk(cmd)
		return b.Bytes()
	}
	for _, cmd := range root.Commands() {
		golden(t, "help/"+cmd.Name()+".golden", help(cmd))
	}
}

// TestCommandsAreComplete checks what every command must have.
func TestCommandsAreComplete(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no description", cmd.CommandPath())
		}
		if !cmd.Runnable() && !cmd.HasSubCommands() {
			t.Errorf("%s does nothing", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(c.root())
}
