package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baadal"
	"baadal/internal/server"
	"baadal/internal/server/servertest"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	other := c.User("other", "ADMIN", baadal.RoleAdmin)
	const body = `{"name":"web","template":"one"}`
	first := ask(t, c, root.Token, "POST", "/api/v1/vms", body, "Idempotency-Key", "k1")
	if first.status != http.StatusAccepted || first.header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("first: %d %s", first.status, first.body)
	}
	second := ask(t, c, root.Token, "POST", "/api/v1/vms", body, "Idempotency-Key", "k1")
	if diff := cmp.Diff(string(first.body), string(second.body)); diff != "" || second.status != first.status {
		t.Errorf("the second answer is %d and differs: %s", second.status, diff)
	}
	sameHeaders(t, first, second)
	if second.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the second answer does not say that it is a repetition")
	}
	if a := ask(t, c, root.Token, "POST", "/api/v1/vms", strings.Replace(body, "web", "db", 1), "Idempotency-Key", "k1"); a.status != http.StatusConflict ||
		a.problem(t).Code != "idempotency_key_reused" {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	// The key is the user's own: another user's call is another call.
	if a := ask(t, c, other.Token, "POST", "/api/v1/vms", body, "Idempotency-Key", "k1"); a.status != http.StatusAccepted ||
		a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another user: %d %s", a.status, a.body)
	}
	if l := into[baadal.List[baadal.VM]](t, ask(t, c, root.Token, "GET", "/api/v1/vms", "")); l.Total != 2 {
		t.Errorf("there are %d VMs, want 2", l.Total)
	}
}

func sameHeaders(t *testing.T, first, second answer) {
	t.Helper()
	for _, h := range []string{"Location", "ETag", "Content-Type"} {
		if first.header.Get(h) == "" || first.header.Get(h) != second.header.Get(h) {
			t.Errorf("%s is %q, then %q", h, first.header.Get(h), second.header.Get(h))
		}
	}
}

// What is made without a task is found at its own place, also the second time.
func TestIdempotentDatastore(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	call := func() answer {
		return ask(t, c, root.Token, "POST", "/api/v1/datastores", `{"name":"d","path":"/mnt/d"}`, "Idempotency-Key", "k")
	}
	first, second := call(), call()
	if first.status != http.StatusCreated || second.status != http.StatusCreated {
		t.Fatalf("%d %s, then %d %s", first.status, first.body, second.status, second.body)
	}
	sameHeaders(t, first, second)
	if d := into[baadal.Datastore](t, ask(t, c, root.Token, "GET", first.header.Get("Location"), "")); d.Name != "d" {
		t.Errorf("Location leads to %q", d.Name)
	}
}

// A call that failed made nothing, so its key is free for another try.
func TestIdempotencyKeyAfterFailure(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	if a := ask(t, c, root.Token, "POST", "/api/v1/vms", `{"name":"web","template":"none"}`, "Idempotency-Key", "k"); a.status != 422 {
		t.Fatalf("bad call: %d %s", a.status, a.body)
	}
	if a := ask(t, c, root.Token, "POST", "/api/v1/vms", `{"name":"web","template":"one"}`, "Idempotency-Key", "k"); a.status != http.StatusAccepted {
		t.Errorf("good call: %d %s", a.status, a.body)
	}
}

func TestIdempotencyKeyIsNotForDryRuns(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	const body = `{"name":"web","template":"one"}`
	if a := ask(t, c, root.Token, "POST", "/api/v1/vms?dry_run=true", body, "Idempotency-Key", "k"); a.status != http.StatusOK {
		t.Fatalf("dry run: %d %s", a.status, a.body)
	}
	if a := ask(t, c, root.Token, "POST", "/api/v1/vms", body, "Idempotency-Key", "k"); a.status != http.StatusAccepted ||
		a.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("real run: %d %s", a.status, a.body)
	}
}

func TestIdempotencyUnderConcurrency(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[int]int{}
	for range 20 {
		wg.Go(func() {
			a := ask(t, c, root.Token, "POST", "/api/v1/networks", `{"name":"lab","vlan":20,"cidr":"10.20.0.0/24"}`, "Idempotency-Key", "k")
			mu.Lock()
			defer mu.Unlock()
			counts[a.status]++
			if a.status == http.StatusConflict && a.problem(t).Code != "in_progress" {
				t.Errorf("conflict: %s", a.body)
			}
		})
	}
	wg.Wait()
	if counts[http.StatusAccepted] == 0 || counts[http.StatusAccepted]+counts[http.StatusConflict] != 20 {
		t.Errorf("answers by status: %v", counts)
	}
	if l := into[baadal.List[baadal.Network]](t, ask(t, c, root.Token, "GET", "/api/v1/networks?filter=lab", "")); l.Total != 1 {
		t.Errorf("%d networks were made", l.Total)
	}
}

// The one-time password is shown once; what is kept does not have it.
func TestIdempotentUserKeepsNoPassword(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	ask2 := func() answer {
		return ask(t, c, root.Token, "POST", "/api/v1/users", `{"username":"rita"}`, "Idempotency-Key", "k")
	}
	one, two := ask2(), ask2()
	sameHeaders(t, one, two)
	first, second := into[server.UserCreated](t, one), into[server.UserCreated](t, two)
	if first.OneTimePassword == "" || second.OneTimePassword != "" || first.User.ID != second.User.ID || first.User.ID == 0 {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

// Tokens are not kept at all: a key on such a call has no meaning.
func TestTokensAreNotReplayed(t *testing.T) {
	t.Parallel()
	c := servertest.New(t)
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	a := ask(t, c, root.Token, "POST", "/api/v1/tokens", `{"name":"a"}`, "Idempotency-Key", "k")
	var made server.TokenCreated
	if err := json.Unmarshal(a.body, &made); err != nil || made.Secret == "" || a.status != http.StatusCreated {
		t.Fatalf("token: %d %s", a.status, a.body)
	}
	if got := ask(t, c, made.Secret, "GET", "/api/v1/me", ""); got.status != http.StatusOK {
		t.Errorf("the new token: %d", got.status)
	}
	if b := ask(t, c, root.Token, "POST", "/api/v1/tokens", `{"name":"a"}`, "Idempotency-Key", "k"); b.header.Get("Idempotency-Replayed") != "" ||
		strings.Contains(string(b.body), made.Secret) {
		t.Errorf("again: %d %s", b.status, b.body)
	}
}
