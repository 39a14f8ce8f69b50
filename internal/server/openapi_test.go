package server_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/server"
)

var update = flag.Bool("update", false, "write golden files")

const golden = "../../api/openapi.yaml"

func TestSpecIsGolden(t *testing.T) {
	t.Parallel()
	got, err := server.New(server.Config{}).Spec()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the API changed; look at it, then go test ./internal/server -run Golden -update\n%s", diff)
	}
}

// operation is what the tests need of an OpenAPI operation.
type operation struct {
	OperationID string   `json:"operationId"`
	Summary     string   `json:"summary"`
	Permission  string   `json:"x-permission"`
	Codes       []string `json:"x-problem-codes"`
	Parameters  []struct {
		Name, In string
	}
	Responses map[string]struct {
		Content map[string]any
	}
	Security []map[string][]string
}

func readSpec(t *testing.T) map[string]map[string]operation {
	t.Helper()
	w := httptest.NewRecorder()
	server.New(server.Config{}).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /api/openapi.json: %d", w.Code)
	}
	var spec struct {
		OpenAPI string
		Paths   map[string]map[string]operation
	}
	if err := json.Unmarshal(w.Body.Bytes(), &spec); err != nil {
		t.Fatal(err)
	}
	if spec.OpenAPI != "3.1.0" {
		t.Errorf("openapi is %q", spec.OpenAPI)
	}
	return spec.Paths
}

// Every route is documented, names an action of the permission table and its
// problem codes; every operation of the document is a route.
func TestSpecCoversRoutes(t *testing.T) {
	t.Parallel()
	paths := readSpec(t)
	known := append(baadal.Actions(), baadal.ActionPublic)
	documented := 0
	for _, methods := range paths {
		documented += len(methods)
	}
	routes := server.New(server.Config{}).Routes()
	if documented != len(routes) || len(routes) < 40 {
		t.Errorf("%d operations are documented, there are %d routes", documented, len(routes))
	}
	used := map[baadal.Action]bool{}
	for _, r := range routes {
		used[r.Action] = true
		op, ok := paths[r.Path][strings.ToLower(r.Method)]
		switch {
		case !ok:
			t.Errorf("%s %s is not in the document", r.Method, r.Path)
			continue
		case !slices.Contains(known, r.Action):
			t.Errorf("%s %s: action %q is not in the permission table", r.Method, r.Path, r.Action)
		case op.Permission != string(r.Action) || op.OperationID != r.ID || op.Summary == "":
			t.Errorf("%s %s: documented as %q, permission %q, %q", r.Method, r.Path, op.OperationID, op.Permission, op.Summary)
		case !slices.Contains(op.Codes, "internal"):
			t.Errorf("%s %s: no problem codes", r.Method, r.Path)
		case op.Responses["default"].Content["application/problem+json"] == nil:
			t.Errorf("%s %s: no problem documented", r.Method, r.Path)
		case (r.Action == baadal.ActionPublic) != (len(op.Security) == 0):
			t.Errorf("%s %s: security %v with action %s", r.Method, r.Path, op.Security, r.Action)
		}
	}
	for _, a := range baadal.Actions() {
		if !used[a] {
			t.Errorf("no route is for action %s", a)
		}
	}
}

func TestSpecHasNoForeignSchemas(t *testing.T) {
	t.Parallel()
	spec, err := server.New(server.Config{}).Spec()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"$schema", "ErrorModel", "unpkg", "\"null\"", "- \"null\"", "array, null"} {
		if strings.Contains(string(spec), bad) {
			t.Errorf("the document contains %q", bad)
		}
	}
}
