package libvirt_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// only are the functions of libvirt that work down a chain of files, each with
// the one function of ours that may call it: it cannot be called without the
// file to work down to.
var only = map[string]string{"DomainBlockCommit": "commitActive", "DomainBlockRebase": "pullOnto", "DomainBlockPull": "pullAll"}

// TestNoImplicitBase looks through the whole program for a block job, or a
// command of qemu-img, that would work down to the last file of a chain because
// nobody said where to stop.
func TestNoImplicitBase(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	found := map[string]int{}
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		switch {
		case strings.HasSuffix(file, ".sh"):
			return checkScript(t, file)
		case strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go"):
			return checkCalls(t, file, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range only {
		if found[name] != 1 {
			t.Errorf("%s is called %d times, want once, by %s", name, found[name], by)
		}
	}
}

func checkCalls(t *testing.T, file string, found map[string]int) error {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return err
	}
	for _, decl := range parsed.Decls {
		name := ""
		if f, ok := decl.(*ast.FuncDecl); ok {
			name = f.Name.Name
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if by, watched := only[n.Sel.Name]; watched {
					found[n.Sel.Name]++
					if name != by {
						t.Errorf("%s: %s calls %s: only %s may", file, name, n.Sel.Name, by)
					}
				}
			case *ast.BasicLit:
				if strings.Contains(n.Value, "block-commit") || strings.Contains(n.Value, "block-stream") || strings.Contains(n.Value, "blockcommit") {
					t.Errorf("%s: %s tells QEMU itself: %s", file, name, n.Value)
				}
			}
			return true
		})
	}
	return nil
}

// checkScript wants -b with every commit.
func checkScript(t *testing.T, file string) error {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "qemu-img commit") && !strings.Contains(line, " -b ") {
			t.Errorf("%s: a commit without its base: %s", file, line)
		}
	}
	return nil
}
