package baadal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "baadal"

// imports is the table of arrows between our packages: what each may import of
// ours (test files are free). "" is the root package, "*" is everything. A
// package that is not here fails the test: a new room is a reviewed act.
var imports = map[string][]string{
	"": {},

	// the flow
	"internal/store":     {""},
	"internal/auth":      {"", "internal/store"},
	"internal/task":      {"", "internal/store"},
	"internal/placement": {""},
	"internal/service":   {"", "internal/store", "internal/task", "internal/placement", "internal/auth"},
	"internal/workflow":  {"", "internal/store", "internal/task", "internal/placement", "internal/cloudinit"}, // the step that makes the disk makes its seed, without I/O
	"internal/reconcile": {"", "internal/store", "internal/task", "internal/placement"},

	// the outside world; "internal/ssh" for those that ride on its connection
	"internal/ssh":       {""},
	"internal/libvirt":   {"", "internal/ssh"},
	"internal/disk":      {"", "internal/ssh"},
	"internal/dhcp":      {"", "internal/ssh"},
	"internal/dns":       {"", "internal/ssh"},
	"internal/nat":       {"", "internal/ssh"},
	"internal/probe":     {"", "internal/ssh"},
	"internal/flow":      {"", "internal/ssh"},
	"internal/console":   {""},
	"internal/vnc":       {""},
	"internal/cloudinit": {""},
	"internal/simulator": {""},
	"internal/lab":       {""},
	"internal/demo":      {"", "client", "internal/lab"}, // a whole Baadal in a lab, for the demo, e2e and benchmarks

	// the edges
	"internal/server": {"", "internal/service"},
	"api":             {},
	"web":             {}, // the built pages, embedded
	"client":          {""},
	"cmd/baadal":      {"*"},

	// what tests share
	"internal/needs":               {},
	"internal/store/storetest":     {"", "internal/store"},
	"internal/task/tasktest":       {"", "internal/needs", "internal/store", "internal/store/storetest", "internal/task", "internal/simulator"},
	"internal/libvirt/libvirttest": {"", "internal/needs", "internal/ssh", "internal/libvirt"},
	"internal/server/servertest":   {"", "internal/auth", "internal/console", "internal/server", "internal/service", "internal/store", "internal/store/storetest", "internal/task"},
	"docs":                         {},
	"internal/proof":               {}, // only tests: what is shown of all operations together, on the simulator
	"e2e":                          {"", "client", "internal/lab", "internal/demo"},
}

// technologies says which of our packages may import an outside module: one
// technology, one package. What is not here nobody may import outside tests.
var technologies = map[string][]string{
	"github.com/coder/websocket":          {"internal/server", "client"},
	"github.com/danielgtaylor/huma/v2":    {"internal/server"},
	"github.com/digitalocean/go-libvirt":  {"internal/libvirt"},
	"libvirt.org/go/libvirtxml":           {"internal/libvirt"},
	"github.com/goccy/go-yaml":            {"internal/cloudinit", "internal/server", "cmd/baadal"},
	"github.com/jackc/pgx/v5":             {"internal/store", "internal/store/storetest"},
	"modernc.org/sqlite":                  {"internal/store"},
	"github.com/kdomanski/iso9660":        {"internal/cloudinit"},
	"github.com/prometheus/client_golang": {"internal/server"},
	"github.com/spf13/cobra":              {"cmd/baadal"},
	"golang.org/x/crypto":                 {"internal/auth", "internal/ssh", "internal/libvirt", "internal/probe", "internal/lab", "cmd/baadal"},
	"golang.org/x/term":                   {"cmd/baadal"},
	"golang.org/x/sync":                   {"*"},
	"golang.org/x/sys":                    {"internal/store", "internal/lab", "internal/disk", "cmd/baadal"},
}

var forbiddenNames = regexp.MustCompile(`^(utils?|helpers?|common|shared|types?|models?|misc)$`)

// Limits on the arrows.
const (
	maxChain  = 6 // packages, from cmd to the root package
	maxFanOut = 8
)

// sourceFile is one parsed Go file.
type sourceFile struct {
	path  string // below the module's root
	test  bool
	lines int
	ast   *ast.File
}

type sourcePackage struct {
	dir   string // "" for the root
	files []*sourceFile
}

// imported returns the paths that the package's non-test files import.
func (p *sourcePackage) imported() []string {
	set := map[string]bool{}
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			set[strings.Trim(spec.Path.Value, `"`)] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// ours turns an import path into the folder of one of our packages.
func ours(importPath string) (dir string, ok bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// parseSource parses every Go file below the module's root.
func parseSource(t *testing.T) (map[string]*sourcePackage, *token.FileSet) {
	t.Helper()
	fset := token.NewFileSet()
	packages := map[string]*sourcePackage{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" || base == "vendor") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		name = filepath.ToSlash(name)
		dir := path.Dir(name)
		if dir == "." {
			dir = ""
		}
		if packages[dir] == nil {
			packages[dir] = &sourcePackage{dir: dir}
		}
		packages[dir].files = append(packages[dir].files, &sourceFile{
			path: name, test: strings.HasSuffix(base, "_test.go"), ast: parsed,
			lines: strings.Count(string(text), "\n"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 3 || len(packages[""].files) < 10 {
		t.Fatalf("only %d packages were found: the test does not run in the module's root", len(packages))
	}
	return packages, fset
}

// display names a package in a message.
func display(dir string) string {
	if dir == "" {
		return "baadal (the root package)"
	}
	return dir
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	packages, _ := parseSource(t)
	for dir, p := range packages {
		allowed, known := imports[dir]
		if !known {
			t.Errorf("%s: this package is not in the import table of arch_test.go; a new one is a decision, see CONTRIBUTING.md", dir)
			continue
		}
		for _, imported := range p.imported() {
			if to, ok := ours(imported); ok && !slices.Contains(allowed, "*") && !slices.Contains(allowed, to) {
				t.Errorf("%s may not import %s", display(dir), display(to))
			}
		}
	}
}

func TestTechnologiesStayInTheirPackages(t *testing.T) {
	t.Parallel()
	packages, _ := parseSource(t)
	for dir, p := range packages {
		for _, imported := range p.imported() {
			if _, our := ours(imported); our || isStandard(imported) {
				continue
			}
			if dir == "" {
				t.Errorf("%s may import only the standard library, not %s", display(dir), imported)
				continue
			}
			home, found := []string(nil), false
			for mod, packages := range technologies {
				if imported == mod || strings.HasPrefix(imported, mod+"/") {
					home, found = packages, true
				}
			}
			if !found || !slices.Contains(home, "*") && !slices.Contains(home, dir) {
				t.Errorf("%s may not import %s: its place is %v", dir, imported, home)
			}
		}
	}
}

func TestImportChainsAreShort(t *testing.T) {
	t.Parallel()
	packages, _ := parseSource(t)
	var longest func(dir string) []string
	longest = func(dir string) []string {
		var best []string
		if packages[dir] == nil {
			return []string{display(dir)}
		}
		for _, imported := range packages[dir].imported() {
			if to, ok := ours(imported); ok {
				if chain := longest(to); len(chain) > len(best) {
					best = chain
				}
			}
		}
		return append([]string{display(dir)}, best...)
	}
	for dir, p := range packages {
		if chain := longest(dir); len(chain) > maxChain {
			t.Errorf("the import chain %s has %d packages, more than %d", strings.Join(chain, " → "), len(chain), maxChain)
		}
		fanOut := 0
		for _, imported := range p.imported() {
			if _, ok := ours(imported); ok {
				fanOut++
			}
		}
		if fanOut > maxFanOut && !strings.HasPrefix(dir, "cmd/") {
			t.Errorf("%s imports %d of our packages, more than %d", dir, fanOut, maxFanOut)
		}
	}
}

func TestPackagesAreNamedAndDescribed(t *testing.T) {
	t.Parallel()
	packages, _ := parseSource(t)
	for dir, p := range packages {
		doc, onlyTests := "", true
		for _, f := range p.files {
			name := strings.TrimSuffix(f.ast.Name.Name, "_test")
			if forbiddenNames.MatchString(name) || forbiddenNames.MatchString(path.Base(dir)) {
				t.Errorf("%s: a package is named after what it is for, not %q", f.path, name)
			}
			if f.test {
				continue
			}
			onlyTests = false
			if f.ast.Doc != nil && doc != "" {
				t.Errorf("%s: the package has a second package comment", f.path)
			}
			if f.ast.Doc != nil {
				doc = f.ast.Doc.Text()
			}
		}
		if !onlyTests && len(strings.Fields(doc)) < 8 {
			t.Errorf("%s has no package comment that says what it is for", display(dir))
		}
	}
}

func TestNoInitNoMarkers(t *testing.T) {
	t.Parallel()
	packages, fset := parseSource(t)
	marker := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, p := range packages {
		for _, f := range p.files {
			for _, decl := range f.ast.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: init() is not used here; serve.go wires in order", fset.Position(fn.Pos()))
				}
			}
			for _, group := range f.ast.Comments {
				if m := marker.FindString(group.Text()); m != "" {
					t.Errorf("%s: a comment with %s: do it, or open an issue", fset.Position(group.Pos()), m)
				}
			}
		}
	}
}

// isFrom reports whether a type expression is pkg.name, or a pointer to it; an
// empty name stands for any.
func isFrom(e ast.Expr, pkg, name string) bool {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || name != "" && sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg
}

func TestContextComesFirst(t *testing.T) {
	t.Parallel()
	packages, fset := parseSource(t)
	check := func(fn *ast.FuncType) {
		first := true
		for _, field := range fn.Params.List {
			if isFrom(field.Type, "context", "Context") && !first {
				t.Errorf("%s: context.Context is the first parameter, or none", fset.Position(field.Pos()))
			}
			if !isFrom(field.Type, "testing", "") { // a test comes before its context
				first = false
			}
		}
	}
	for _, p := range packages {
		for _, f := range p.files {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					check(n.Type)
				case *ast.FuncLit:
					check(n.Type)
				case *ast.InterfaceType:
					for _, method := range n.Methods.List {
						if fn, ok := method.Type.(*ast.FuncType); ok {
							check(fn)
						}
					}
				}
				return true
			})
		}
	}
}

// constantScript reports whether an expression is a script as far as its form
// tells: a name (of a constant, an embedded file), or names joined; text joined
// with a name is a script put together at run time.
func constantScript(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit, *ast.Ident, *ast.SelectorExpr:
		return true
	case *ast.BinaryExpr:
		_, text := e.X.(*ast.BasicLit)
		_, more := e.Y.(*ast.BasicLit)
		return text == more && constantScript(e.X) && constantScript(e.Y)
	}
	return false
}

// shellScripts returns the script after each pair "sh", "-c" in the arguments of
// a call or the elements of a list.
func shellScripts(n ast.Node) (scripts []ast.Expr) {
	var list []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		list = n.Args
	case *ast.CompositeLit:
		list = n.Elts
	}
	text := func(e ast.Expr) string {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			return strings.Trim(lit.Value, "`\"")
		}
		return ""
	}
	for i := 0; i+2 < len(list); i++ {
		if shell := path.Base(text(list[i])); (shell == "sh" || shell == "bash" || shell == "dash") && strings.HasSuffix(text(list[i+1]), "c") && strings.HasPrefix(text(list[i+1]), "-") {
			scripts = append(scripts, list[i+2])
		}
	}
	return scripts
}

// TestShellScriptsAreConstant looks for scripts put together at run time: values
// reach a script as positional arguments only.
func TestShellScriptsAreConstant(t *testing.T) {
	t.Parallel()
	packages, fset := parseSource(t)
	for _, p := range packages {
		for _, f := range p.files {
			if f.test {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				for _, script := range shellScripts(n) {
					if !constantScript(script) {
						t.Errorf("%s: a shell script is a constant; give it values as positional arguments", fset.Position(script.Pos()))
					}
				}
				return true
			})
		}
	}
}

// TestShellScriptCheckSees keeps the check above honest.
func TestShellScriptCheckSees(t *testing.T) {
	t.Parallel()
	for source, ok := range map[string]bool{
		`f("sh", "-c", "echo hello")`:                    true,
		`f("sh", "-c", script, "baadal", name)`:          true,
		`f("sh", "-c", prelude+w.script, name)`:          true,
		`f("sh", "-c", "rm "+name)`:                      false,
		`f("/bin/bash", "-ec", fmt.Sprintf("%s", name))`: false,
		`[]string{"sh", "-c", strings.Join(words, " ")}`: false,
		`f("qemu-img", "-c", fmt.Sprintf("%s", name))`:   true,
	} {
		expr, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		seen := shellScripts(expr)
		if !ok && len(seen) == 0 {
			t.Errorf("%s: the script was not seen", source)
		}
		for _, script := range seen {
			if constantScript(script) != ok {
				t.Errorf("%s: constant is %t, want %t", source, !ok, ok)
			}
		}
	}
}

// TestDependenciesHaveReasons asks a decision record for each module that go.mod
// names directly.
func TestDependenciesHaveReasons(t *testing.T) {
	t.Parallel()
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob("docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range records {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(gomod), -1)
	if len(direct) == 0 {
		t.Fatal("no direct dependency was found in go.mod")
	}
	for _, m := range direct {
		if !strings.Contains(all.String(), "`"+m[1]+"`") {
			t.Errorf("%s has no record in docs/decisions that says why it is there", m[1])
		}
	}
}
