package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// trusts reports whether an address is one of our own proxies.
func (s *Server) trusts(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// forwardedFor walks X-Forwarded-For from the right and returns the first
// address that is not a proxy of ours: what stands further left is the
// client's own claim.
func (s *Server) forwardedFor(r *http.Request, host string) string {
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop = strings.TrimSpace(hop)
		if _, err := netip.ParseAddr(hop); err != nil {
			break
		}
		host = hop
		if !s.trusts(hop) {
			break
		}
	}
	return host
}
