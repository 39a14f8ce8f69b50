package task

import (
	"math/rand/v2"
	"time"

	"baadal"
)

// retryable is the one place that says which failures are worth another try.
func retryable(err error) bool { return baadal.KindOf(err) == baadal.Unavailable }

// backoff returns how long to wait before the given attempt (1 is the first
// retry): 1 s doubling to at most 15 s, with a fifth of jitter so that the tasks
// of a host that came back do not all start at once.
func backoff(attempt int, scale time.Duration) time.Duration {
	d := scale << min(attempt-1, 4)
	d = min(d, 15*scale)
	return d + time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // jitter needs no secrecy
}
