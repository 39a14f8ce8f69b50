package workflow

import (
	"context"
	"strings"

	"baadal"
	"baadal/internal/store"
	"baadal/internal/task"
)

// hostAdd looks at a new host and takes it in if nothing is missing. Its row,
// with the pinned key, was made with the task.
func (w *Workflows) hostAdd() task.Body {
	return task.Body{
		Kind: baadal.TaskHostAdd,
		Steps: []task.Step{
			{Name: "probe", Do: w.probeHost},
			{Name: "networks", Do: w.hostNetwork, Undo: w.dropHostNetwork},
			{Name: "flows", Do: w.layFlows, Undo: w.takeFlowsOff},
		},
		Done:   hostProbed("is added"),
		Undone: func(tx *store.Tx, r *task.Run) error { return tx.DeleteHost(r.Task.Subject.ID) },
		Tries:  2,
	}
}

// hostCheck looks at a known host again and writes down what it sees.
func (w *Workflows) hostCheck() task.Body {
	return task.Body{
		Kind:  baadal.TaskHostCheck,
		Steps: []task.Step{{Name: "probe", Do: w.probeHost}},
		Done:  hostProbed("is well"),
		Tries: 2,
	}
}

// probed is what a look at a host leaves in the journal.
type probed struct {
	baadal.HostFacts
	Features string `json:"cpu,omitempty"`
}

func (w *Workflows) probeHost(ctx context.Context, r *task.Run) error {
	var host baadal.Host
	var stores []baadal.Datastore
	err := w.db.View(ctx, func(tx *store.Tx) (err error) {
		if host, err = tx.Host(r.Task.Subject.ID); err != nil {
			return err
		}
		stores, err = tx.AllDatastores()
		return err
	})
	if err != nil {
		return err
	}
	facts, err := w.sys.Prober.Probe(ctx, host, stores)
	if err != nil {
		return err
	}
	if r.Task.Kind == baadal.TaskHostCheck && w.sys.Flows != nil {
		facts.Checks = append(facts.Checks, w.flowCheck(ctx, host))
	}
	if err := r.Record(probed{facts, facts.CPU}); err != nil {
		return err
	}
	if r.Task.Kind == baadal.TaskHostCheck {
		// What was seen is kept even if something is wrong.
		if err := w.db.Update(ctx, func(tx *store.Tx) error { return tx.SetHostFacts(host.ID, facts) }); err != nil {
			return err
		}
	}
	return hostProblems(host, facts)
}

// hostProblems turns failed checks into one error that says how to mend each.
func hostProblems(host baadal.Host, facts baadal.HostFacts) error {
	bad := facts.Failed()
	if len(bad) == 0 {
		return nil
	}
	var words []string
	e := baadal.Errorf(baadal.Conflict, "%s is not ready", host.Name).WithCode("host_not_ready")
	for _, c := range bad {
		words = append(words, c.Name+": "+c.Detail)
		if c.Fix != "" {
			e = e.WithNext("Mend "+c.Name, c.Fix)
			words[len(words)-1] += " (mend it: " + c.Fix + ")"
		}
	}
	return e.WithDetail("%s", strings.Join(words, "; "))
}

func hostProbed(words string) func(*store.Tx, *task.Run) (string, error) {
	return func(tx *store.Tx, r *task.Run) (string, error) {
		var seen probed
		if _, err := r.Output("probe", &seen); err != nil {
			return "", err
		}
		facts := seen.HostFacts
		facts.CPU = seen.Features
		id := r.Task.Subject.ID
		if err := tx.SetHostFacts(id, facts); err != nil {
			return "", err
		}
		if r.Task.Kind == baadal.TaskHostAdd && facts.Hostname != "" {
			host, err := tx.Host(id)
			if err != nil {
				return "", err
			}
			if host.Name == host.Address && baadal.CheckName("name", facts.Hostname) == nil {
				if _, err := tx.HostByRef(facts.Hostname); baadal.KindOf(err) == baadal.NotFound {
					host.Name = facts.Hostname
					if err := tx.UpdateHost(&host); err != nil {
						return "", err
					}
				}
			}
		}
		host, err := tx.Host(id)
		if err != nil {
			return "", err
		}
		if host.State != baadal.HostMaintenance { // only a person ends maintenance
			if _, err := tx.SetHostState(id, baadal.HostUp, "", true); err != nil {
				return "", err
			}
			if host, err = tx.Host(id); err != nil {
				return "", err
			}
		}
		return host.Name + " " + words, hostEvent(tx, r, host)
	}
}

func hostEvent(tx *store.Tx, r *task.Run, h baadal.Host) error {
	_, err := tx.AddEvent(baadal.Event{
		Topic: "host", Subject: baadal.Subject{Kind: "host", ID: h.ID, Name: h.Name}, Version: h.Generation,
		What: h.State.String(), ActorID: r.Task.RequesterID, Actor: r.Task.Requester,
	})
	return err
}
