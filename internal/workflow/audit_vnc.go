package workflow

import (
	"fmt"
	"time"

	"baadal"
)

// vncSlow is how old a grant may become before its door must be open.
const vncSlow = 15 * time.Second

// compareGrants looks for grants for VNC clients that no controller listens for.
// The controllers' loops try again by themselves: there is nothing to mend here.
func (c *comparison) compareGrants() {
	for _, g := range c.b.grants {
		if g.Open || g.Problem == "" && c.now.Sub(g.CreatedAt) < vncSlow {
			continue
		}
		seen := "no controller listens for its clients"
		if g.Problem != "" {
			seen = g.Controller + ": " + g.Problem
		}
		c.add(baadal.Difference{
			Kind: baadal.DiffVNC, Subject: baadal.Subject{Kind: "vm", ID: g.VMID, Name: g.VM},
			Stored: fmt.Sprintf("a VNC client may see it at port %d until %s", g.Port, g.ExpiresAt.Format(time.RFC3339)), Seen: seen,
		})
	}
}
