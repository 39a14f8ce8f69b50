package workflow

import (
	"context"

	"baadal"
)

// NAT is the box between the outside and the VMs' networks. What it has of ours
// is one table, made whole from the store; nothing of anyone else's is touched.
type NAT interface {
	// Apply makes the box have exactly this, and tells whether anything differed. Mappings end at their time with nobody's help, and what is open then is cut; those that go on are not interrupted. Unavailable when the box does not answer. Concurrent calls are put in a row.
	Apply(ctx context.Context, t baadal.NATTable) (changed bool, err error)
	// Seen reads back what the box has, with what it counted. No table is no error.
	Seen(ctx context.Context) (baadal.NATSeen, error)
}
