package main

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"baadal"
	"baadal/internal/server"
)

// commands are those that are not called as their action is.
var commands = map[baadal.Action]string{
	baadal.ActionBackupCreate: "backup create", baadal.ActionBackupReplace: "backup restore", baadal.ActionVMSaveTemplate: "vm save-as-template",
}

// commandOf is the command for an action on a VM: "vm start" for vm.start, "vm
// disk grow" for disk.grow.
func commandOf(a baadal.Action) string {
	if name, ok := commands[a]; ok {
		return name
	}
	words := strings.Split(string(a), ".")
	if words[0] != "vm" {
		words = append([]string{"vm"}, words...)
	}
	return strings.Join(words, " ")
}

// TestEveryActionIsReachable: whatever can be done to a VM has a route, somebody
// who may, a command, and a place in the manual.
func TestEveryActionIsReachable(t *testing.T) {
	t.Parallel()
	var manual []byte
	for _, chapter := range []string{"operate", "vms", "networks"} {
		text, err := os.ReadFile("../../docs/" + chapter + ".md")
		if err != nil {
			t.Fatal(err)
		}
		manual = append(manual, text...)
	}
	c, _, _ := quietCLI()
	root := c.root()
	admin := baadal.Actor{User: baadal.User{Roles: []baadal.Role{baadal.RoleAdmin}}}
	routes := server.New(server.Config{}).Routes()
	for _, a := range baadal.VMActions() {
		if !slices.ContainsFunc(routes, func(r server.Route) bool { return r.Action == a && r.Method != http.MethodGet }) {
			t.Errorf("%s has no route", a)
		}
		if admin.ScopeOf(a) == baadal.ScopeNone {
			t.Errorf("nobody may do %s: it is not in the table of permissions", a)
		}
		command := commandOf(a)
		if cmd, rest, err := root.Find(strings.Fields(command)); err != nil || len(rest) > 0 || !cmd.Runnable() {
			t.Errorf("%s has no command %q", a, command)
		}
		if !strings.Contains(string(manual), "baadal "+command) {
			t.Errorf("docs/operate.md, vms.md and networks.md do not say what `baadal %s` is for", command)
		}
	}
}
