package workflow_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	"baadal"
	"baadal/internal/needs"
	"baadal/internal/store"
	"baadal/internal/task/tasktest"
	"baadal/internal/workflow"
)

// suites are all lists of cases, by the name of the function that makes each.
var suites = map[string]func() []tasktest.Case{
	"cases": cases, "editCases": editCases, "diskCases": diskCases, "snapshotCases": snapshotCases, "migrateCases": migrateCases, "cloneCases": cloneCases,
	"backupCases": backupCases, "cdromCases": cdromCases, "chainCases": chainCases, "imageCases": imageCases, "moveCases": moveCases, "networkCases": networkCases, "nicCases": nicCases,
}

// partOfAnother are kinds whose tasks only another one makes: its cases run them.
var partOfAnother = map[baadal.TaskKind]baadal.TaskKind{baadal.TaskCloneCreate: baadal.TaskVMClone}

// askedAgain are kinds that a loop asks for until they are done, and that cannot
// be taken back: internal/proof ends each of its sequences with them, with
// failures and crashes.
var askedAgain = []baadal.TaskKind{baadal.TaskVMPurge, baadal.TaskDiskPurge, baadal.TaskBaseRemove}

// TestEveryBodyHasACase: every operation is failed, repeated and killed.
func TestEveryBodyHasACase(t *testing.T) {
	t.Parallel()
	if !needs.All() {
		return // it prepares every case once more, and nothing of it is a race
	}
	var mu sync.Mutex
	seen := map[baadal.TaskKind]bool{}
	t.Run("cases", func(t *testing.T) {
		for _, list := range suites {
			for _, c := range list() {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					kind := kindOf(t, c)
					mu.Lock()
					defer mu.Unlock()
					seen[kind] = true
				})
			}
		}
	})
	for _, b := range workflow.New(nil, workflow.Systems{}, workflow.Options{}).Bodies() {
		if whole := partOfAnother[b.Kind]; !seen[b.Kind] && !seen[whole] && !slices.Contains(askedAgain, b.Kind) {
			t.Errorf("no case of tasktest runs a task %q", b.Kind)
		}
	}
}

// kindOf returns the kind of the task that a case stores.
func kindOf(t *testing.T, c tasktest.Case) baadal.TaskKind {
	t.Helper()
	e := c.Open(t, t.TempDir())
	defer e.Close()
	if c.Prepare != nil {
		c.Prepare(t, e)
	}
	id := c.Submit(t, e)
	var k baadal.Task
	if err := e.DB.View(context.Background(), func(tx *store.Tx) (err error) { k, err = tx.Task(id); return err }); err != nil {
		t.Fatal(err)
	}
	return k.Kind
}

// TestEverySuiteIsKnown: a list of cases that is run is in suites, too.
func TestEverySuiteIsKnown(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	run := regexp.MustCompile(`tasktest\.Run\(t, (\w+)\(\)\)`)
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range run.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
			if suites[m[1]] == nil {
				t.Errorf("%s runs %s(), which is not in suites of coverage_test.go", file, m[1])
			}
		}
	}
	for name := range suites {
		if !slices.Contains(names, name) {
			t.Errorf("%s() is in suites and no test runs it", name)
		}
	}
}
