package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// How a row begins whose function is not there, or there without a test that
// shows it.
const (
	notBuilt = "not built yet"
	notShown = "not shown yet"
)

// row is one line of the table in functions.md.
type row struct {
	line                               int
	module, function, where, test, why string
}

// specification reads functions.tsv: the modules and functions that the
// specification lists.
func specification(t *testing.T) [][2]string {
	t.Helper()
	text, err := os.ReadFile("functions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var list [][2]string
	for line := range strings.Lines(string(text)) {
		module, function, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			t.Fatalf("functions.tsv: %q is not a module, a tab and a function", line)
		}
		list = append(list, [2]string{module, function})
	}
	return list
}

// table reads the rows of functions.md.
func table(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile("functions.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| module ") || strings.HasPrefix(line, "| --- ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			t.Errorf("functions.md:%d: %d cells, want 5", n, len(cells))
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{line: n, module: cells[0], function: cells[1], where: cells[2], test: cells[3], why: cells[4]})
	}
	return rows
}

// TestEveryFunctionHasARow compares the table with the specification's list, in
// its order.
func TestEveryFunctionHasARow(t *testing.T) {
	t.Parallel()
	want := specification(t)
	if len(want) != 137 {
		t.Fatalf("functions.tsv has %d functions, the specification 137", len(want))
	}
	seen := map[[2]string]int{}
	for _, r := range table(t) {
		key := [2]string{r.module, r.function}
		if first, double := seen[key]; double {
			t.Errorf("functions.md:%d: %s %s was there already, in line %d", r.line, r.module, r.function, first)
		}
		seen[key] = r.line
		if !slices.Contains(want, key) {
			t.Errorf("functions.md:%d: the specification has no %s %s", r.line, r.module, r.function)
		}
	}
	for _, key := range want {
		if seen[key] == 0 {
			t.Errorf("functions.md has no row for %s %s", key[0], key[1])
		}
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// names returns what a cell has in back quotes.
func names(cell string) []string {
	var list []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestRowsAreTrue looks up every symbol, route and test that the table names.
func TestRowsAreTrue(t *testing.T) {
	t.Parallel()
	code := newCode("..")
	built := 0
	for _, r := range table(t) {
		at := fmt.Sprintf("functions.md:%d: %s", r.line, r.function)
		if strings.HasPrefix(r.where, notBuilt) {
			if len(names(r.test)) > 0 {
				t.Errorf("%s: it is not built yet, but names a test", at)
			}
			if len(r.where) < len(notBuilt)+5 {
				t.Errorf("%s: say where its place will be", at)
			}
			continue
		}
		shown := !strings.HasPrefix(r.where, notShown)
		if shown {
			built++
		}
		if len(names(r.where)) == 0 || shown != (len(names(r.test)) > 0) {
			t.Errorf("%s: it names no symbol, no test, or a test though nothing shows it", at)
		}
		if r.why == "" {
			t.Errorf("%s: say what is different and why", at)
		}
		for _, name := range names(r.where) {
			if err := code.exists(name, false); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		for _, name := range names(r.test) {
			if err := code.exists(name, true); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	t.Logf("%d of %d functions are built and shown", built, len(table(t)))
}

// code finds symbols by parsing the packages they are said to be in.
type code struct {
	root     string
	packages map[string]map[string]bool // folder → names; a test's name has the prefix "test "
	routes   map[string]bool
}

func newCode(root string) *code {
	return &code{root: root, packages: map[string]map[string]bool{}}
}

// exists looks up a route (POST /api/v1/vms), a script (….txtar), a test
// (internal/store.TestX) or a symbol (internal/store.Tx.CreateVM, baadal.VM).
func (c *code) exists(name string, test bool) error {
	method, route, isRoute := strings.Cut(name, " ")
	switch {
	case isRoute && test:
		return fmt.Errorf("%q is not a test", name)
	case isRoute:
		return c.route(method, route)
	case strings.HasSuffix(name, ".txtar"):
		if _, err := os.Stat(filepath.Join(c.root, name)); err != nil {
			return fmt.Errorf("there is no script %s", name)
		}
		return nil
	}
	slash := strings.LastIndex(name, "/") + 1
	pkg, symbol, ok := strings.Cut(name[slash:], ".")
	if !ok {
		return fmt.Errorf("%q is not package.symbol", name)
	}
	dir := name[:slash] + pkg
	if dir == "baadal" {
		dir = "."
	}
	known, err := c.load(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if test {
		symbol = "test " + symbol
	}
	if !known[symbol] {
		return fmt.Errorf("there is no %s", name)
	}
	return nil
}

// route looks for a route in the API's golden description.
func (c *code) route(method, route string) error {
	if c.routes == nil {
		text, err := os.ReadFile(filepath.Join(c.root, "api", "openapi.yaml"))
		if err != nil {
			return fmt.Errorf("%s %s: read the API's description: %w", method, route, err)
		}
		var spec struct {
			Paths map[string]map[string]any `yaml:"paths"`
		}
		if err := yaml.Unmarshal(text, &spec); err != nil {
			return fmt.Errorf("parse api/openapi.yaml: %w", err)
		}
		c.routes = map[string]bool{}
		for path, methods := range spec.Paths {
			for m := range methods {
				c.routes[strings.ToUpper(m)+" "+path] = true
			}
		}
	}
	if !c.routes[method+" "+route] {
		return fmt.Errorf("the API has no %s %s", method, route)
	}
	return nil
}

// load parses one folder and collects the names it declares.
func (c *code) load(dir string) (map[string]bool, error) {
	if known, ok := c.packages[dir]; ok {
		return known, nil
	}
	files, err := filepath.Glob(filepath.Join(c.root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there is no package %s", dir)
	}
	known := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		test := strings.HasSuffix(file, "_test.go")
		for _, decl := range parsed.Decls {
			declared(decl, test, known)
		}
	}
	c.packages[dir] = known
	return known, nil
}

// declared adds what one declaration declares.
func declared(decl ast.Decl, test bool, known map[string]bool) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		name := decl.Name.Name
		switch {
		case test && decl.Recv == nil && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")):
			known["test "+name] = true
		case !test && decl.Recv == nil:
			known[name] = true
		case !test:
			known[receiver(decl.Recv.List[0].Type)+"."+name] = true
		}
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			if !test {
				specified(spec, known)
			}
		}
	}
}

// specified adds a type with its fields or methods, or constants and variables.
func specified(spec ast.Spec, known map[string]bool) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			known[name.Name] = true
		}
	case *ast.TypeSpec:
		known[spec.Name.Name] = true
		var fields *ast.FieldList
		switch body := spec.Type.(type) {
		case *ast.StructType:
			fields = body.Fields
		case *ast.InterfaceType:
			fields = body.Methods
		default:
			return
		}
		for _, field := range fields.List {
			for _, name := range field.Names {
				known[spec.Name.Name+"."+name.Name] = true
			}
		}
	}
}

// receiver returns the type's name of a method's receiver.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// TestLookupSees keeps the look-up honest: what is not there is not found.
func TestLookupSees(t *testing.T) {
	t.Parallel()
	code := newCode("..")
	for _, c := range []struct {
		name string
		test bool
		ok   bool
	}{
		{"baadal.VM", false, true},
		{"baadal.VM.CheckAction", false, true},
		{"baadal.HostFacts.RAMMiB", false, true},
		{"baadal.TaskSuccess", false, true},
		{"docs.TestLookupSees", true, true},
		{"docs.TestLookupSees", false, false},
		{"baadal.VM.Fly", false, false},
		{"baadal.NoSuchThing", false, false},
		{"internal/nowhere.Func", false, false},
		{"docs.TestNothing", true, false},
		{"baadal.VM", true, false},
		{"TRACE /api/v1/nothing", false, false},
		{"cmd/nothing.txtar", true, false},
	} {
		if err := code.exists(c.name, c.test); (err == nil) != c.ok {
			t.Errorf("%q (test %t): %v, want found %t", c.name, c.test, err, c.ok)
		}
	}
}

// TestErrorCodesExist checks that each code that operate.md explains is given by
// the code.
func TestErrorCodesExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## What an error means")
	section, _, _ = strings.Cut(section, "\n## ")
	var source strings.Builder
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		source.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, code := range names(cells[1]) {
			n++
			if !strings.Contains(source.String(), `"`+code+`"`) {
				t.Errorf("operate.md explains %s, which nothing returns", code)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d codes were found in operate.md", n)
	}
}
