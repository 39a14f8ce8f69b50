// Package service holds the use cases: authorise, validate, one transaction
// with intent, claims and task, and return at once. It does no work on hosts
// itself (adding one asks its sshd for the key to be shown), retries nothing,
// and leaves no goroutine behind.
package service

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/store"
	"baadal/internal/task"
)

// Prober is the one look outside that a request may wait for.
type Prober interface {
	// Fingerprint asks an sshd (host:port) for its host key without trusting it.
	Fingerprint(ctx context.Context, addr string) (hostKey, fingerprint string, err error)
}

// Options of the service.
type Options struct {
	Prober     Prober
	Files      Files                                  // for uploads, exports and images that lie on hosts
	Foreign    Foreign                                // for adoptions
	Consoles   Consoles                               // screens and serial lines
	Screens    Screens                                // pictures
	VNCAddress string                                 // where this controller listens for VNC clients; none if empty
	Stats      func(baadal.VM) (baadal.VMStats, bool) // a VM's figures, false if not known; may be nil
	Taken      []netip.Addr                           // addresses of this controller and its boxes: no VM gets one
	Domain     string                                 // what the name service has VMs' names below; none if empty
	NAT        NAT                                    // the NAT box; may be none
	SessionTTL time.Duration                          // how long a session lasts; 12 h if 0
	Logger     *slog.Logger
}

// Service is every use case of the API.
type Service struct {
	db      *store.DB
	queue   *task.Queue
	opt     Options
	log     *slog.Logger
	hasher  *auth.Hasher
	limiter *auth.Limiter

	instance string // tells this process from others, for a while
	lines    openLines
	looking  looking
	pictures chan struct{} // one for each that is being taken
}

// New makes the service on a store and the queue that does the work.
func New(db *store.DB, queue *task.Queue, opt Options) *Service {
	if opt.SessionTTL == 0 {
		opt.SessionTTL = 12 * time.Hour
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		db: db, queue: queue, opt: opt, log: opt.Logger,
		hasher: auth.NewHasher(auth.Params{}), limiter: auth.NewLimiter(auth.LimiterConfig{}),
		instance: rand.Text(), lines: openLines{open: map[int64]int{}}, pictures: make(chan struct{}, mostPictures),
	}
}

// may refuses an action that no role of the actor has at all.
func may(a baadal.Actor, action baadal.Action) error {
	if a.ScopeOf(action) == baadal.ScopeNone {
		return forbidden(action)
	}
	return nil
}

func forbidden(action baadal.Action) error {
	return baadal.Errorf(baadal.Forbidden, "you may not do this (%s)", action).WithCode("forbidden").
		WithNext("Ask an administrator", "")
}

// reach refuses an action on a thing of the given organisation and owners: as
// forbidden if the actor may at least see the thing.
func reach(a baadal.Actor, action baadal.Action, organisation int64, owners ...int64) error {
	if a.Reaches(action, organisation, owners...) {
		return nil
	}
	return forbidden(action)
}

// newTask is a task that the actor asks for. It is of no organisation unless its
// subject is: who runs an organisation must not cancel work on hosts because an
// administrator happens to belong to it.
func newTask(a baadal.Actor, kind baadal.TaskKind, subject baadal.Subject, params any) (baadal.Task, error) {
	raw, err := task.MarshalParams(params)
	return baadal.Task{
		Kind: kind, Subject: subject, Params: raw, RequesterID: a.User.ID, Requester: a.User.Username,
		OwnerID: a.User.ID, Exclusive: true,
	}, err
}

// event adds a line of history about something the actor did.
func event(tx *store.Tx, a baadal.Actor, e baadal.Event, changes map[string]any) error {
	e.ActorID, e.Actor = a.User.ID, a.User.Username
	if e.Topic == "" {
		e.Topic = e.Subject.Kind
	}
	if len(changes) > 0 {
		raw, err := json.Marshal(changes)
		if err != nil {
			return err
		}
		e.Changes = raw
	}
	_, err := tx.AddEvent(e)
	return err
}

// errDryRun ends, and so rolls back, a transaction whose result was only wanted
// as a plan: a dry run meets the very rules that the act itself meets.
var errDryRun = errors.New("dry run")

func isDryRun(err error) bool { return errors.Is(err, errDryRun) }

// access turns the error of a rule into what a resource shows of an action.
func access(err error) baadal.Access {
	if err == nil {
		return baadal.Access{Allowed: true}
	}
	out := baadal.Access{Code: baadal.CodeOf(err), Reason: baadal.Message(err)}
	if e, ok := err.(*baadal.Error); ok { //nolint:errorlint // rules return their own error, not a chain
		out.Next = e.Next
	}
	return out
}

// checkGeneration compares a resource with what the caller's If-Match says.
func checkGeneration(opt baadal.ChangeOptions, generation int64) error {
	if opt.Generation != 0 && opt.Generation != generation {
		return baadal.Errorf(baadal.Stale, "it was changed meanwhile").WithCode("stale").
			WithDetail("you looked at generation %d, it is %d now", opt.Generation, generation).
			WithNext("Look again, then repeat the change", "")
	}
	return nil
}
