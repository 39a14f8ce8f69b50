package server_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"baadal"
	"baadal/internal/server/servertest"
)

// BenchmarkAPI measures whole requests: connection, sign-in, service, SQLite,
// JSON. On the store with 200 VMs.
func BenchmarkAPI(b *testing.B) {
	c := servertest.New(b)
	c.Furnish()
	root := c.User("root", "ADMIN", baadal.RoleAdmin)
	for i := range 200 {
		c.VM(root, fmt.Sprintf("vm%03d", i))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/healthz", "/api/v1/me", "/api/v1/vms/vm007", "/api/v1/vms?limit=100"} {
		b.Run(path, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.URL+path, nil)
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Authorization", "Bearer "+root.Token)
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK {
						b.Errorf("status %d, %v", resp.StatusCode, err)
						return
					}
				}
			})
		})
	}
}
