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
	return jittered(d)
}

// owedBackoff is backoff for an undo that is still owed: up to 5 minutes, as a
// host may stay away for days. One that comes back makes its tasks due at once.
func owedBackoff(attempt int, scale time.Duration) time.Duration {
	return jittered(min(scale<<min(attempt-1, 9), 300*scale))
}

func jittered(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1)) //nolint:gosec // jitter needs no secrecy
}
