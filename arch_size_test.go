package baadal_test

import (
	"go/ast"
	"testing"
)

// Limits on the size of files and functions, those of tests too: a table that is
// longer stands outside of its function.
const (
	maxFileLines     = 500
	maxFunctionLines = 80
)

func TestFilesAndFunctionsAreSmall(t *testing.T) {
	t.Parallel()
	packages, fset := parseSource(t)
	for _, p := range packages {
		for _, f := range p.files {
			if f.lines > maxFileLines {
				t.Errorf("%s has %d lines, more than %d", f.path, f.lines, maxFileLines)
			}
			for _, decl := range f.ast.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
					t.Errorf("%s: %s has %d lines, more than %d", fset.Position(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
				}
			}
		}
	}
}
