package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"baadal"
)

const eventColumns = `e.id, e.at, e.topic, e.subject_kind, e.subject_id, e.subject_name, e.version, e.what, e.actor_id, e.actor,
	e.owner_id, e.organisation_id, e.changes`

func scanEvent(r row) (e baadal.Event, err error) {
	var at int64
	var changes string
	err = r.Scan(&e.ID, &at, &e.Topic, &e.Subject.Kind, &e.Subject.ID, &e.Subject.Name, &e.Version, &e.What, &e.ActorID, &e.Actor,
		&e.OwnerID, &e.OrganisationID, &changes)
	e.At = timeOf(at)
	if changes != "" {
		e.Changes = json.RawMessage(changes)
	}
	return e, err
}

// AddEvent stores an event with the transaction and returns it with its time,
// which is the transaction's. Its id is given only at the very end, one
// transaction after the other: so ids rise in the order of commits, and a
// reader that goes on after the last id it saw misses nothing.
func (tx *Tx) AddEvent(e baadal.Event) (baadal.Event, error) {
	if len(e.Changes) > 0 && !json.Valid(e.Changes) {
		return e, fmt.Errorf("add event: the changes of %s %q are not JSON", e.Topic, e.Subject.Name)
	}
	e.At = tx.at
	tx.events = append(tx.events, e)
	tx.Wake(TopicEvent)
	return e, nil
}

// flushEvents stores what AddEvent gathered.
func (tx *Tx) flushEvents() error {
	const columns, batch = 12, 25
	if len(tx.events) == 0 {
		return nil
	}
	if err := tx.Lock("event"); err != nil {
		return err
	}
	for first := 0; first < len(tx.events); first += batch {
		part := tx.events[first:min(first+batch, len(tx.events))]
		args := make([]any, 0, columns*len(part))
		for _, e := range part {
			args = append(args, ms(e.At), e.Topic, e.Subject.Kind, e.Subject.ID, e.Subject.Name, e.Version, e.What, e.ActorID, e.Actor,
				e.OwnerID, e.OrganisationID, string(e.Changes))
		}
		_, err := tx.exec(`INSERT INTO events (at, topic, subject_kind, subject_id, subject_name, version, what, actor_id, actor,
			owner_id, organisation_id, changes) VALUES `+tuples(len(part), columns), args...)
		if err != nil {
			return fmt.Errorf("store events: %w", err)
		}
	}
	return nil
}

// tuples returns "($1,$2),($3,$4)" for 2 rows of 2 columns.
func tuples(rows, columns int) string {
	one := "(?" + strings.Repeat(",?", columns-1) + ")"
	return number(one + strings.Repeat(","+one, rows-1))
}

// EventsAfter returns events with a higher id, oldest first, at most limit.
// Topics and ids of subjects narrow them down; empty means all.
func (tx *Tx) EventsAfter(id int64, topics []string, ids []int64, vis baadal.Visibility, limit int) ([]baadal.Event, error) {
	where := []cond{is("e.id > ?", id), eventsVisible(vis)}
	if len(topics) > 0 {
		where = append(where, oneOf("e.topic", topics))
	}
	if len(ids) > 0 {
		where = append(where, oneOf("e.subject_id", ids))
	}
	c := join(" AND ", append(where, is("1 = 1")))
	events, err := collect(tx, scanEvent, number(`SELECT `+eventColumns+` FROM events e WHERE `+c.sql+` ORDER BY e.id LIMIT ?`), append(c.args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

// oneOf is the condition that a column has one of some values, at least one.
func oneOf[T any](column string, values []T) cond {
	c := cond{sql: column + " IN (?" + strings.Repeat(", ?", len(values)-1) + ")"}
	for _, v := range values {
		c.args = append(c.args, v)
	}
	return c
}

func eventsVisible(vis baadal.Visibility) cond {
	return visible(vis, "e.organisation_id", "e.owner_id", "e.actor_id")
}

// LastEventID returns the id that a new reader of the stream starts after; 0
// if there are no events.
func (tx *Tx) LastEventID() (int64, error) {
	var id int64
	err := tx.queryRow(`SELECT id FROM events ORDER BY id DESC LIMIT 1`).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read last event: %w", err)
	}
	return id, nil
}

// Events lists the history, newest first; of one subject if one is given.
func (tx *Tx) Events(q baadal.ListQuery, vis baadal.Visibility, subject *baadal.Subject) (baadal.List[baadal.Event], error) {
	where := []cond{eventsVisible(vis)}
	if subject != nil {
		where = append(where, is("e.subject_kind = ?", subject.Kind), is("e.subject_id = ?", subject.ID))
	}
	return listRows(tx, listSpec{
		noun: "events", table: "events e", id: "e.id", columns: eventColumns, where: where,
		keys: map[string]filterKey{
			"topic": equals("e.topic"), "what": equals("e.what"), "actor": equals("e.actor"),
			"subject": equalsFold("e.subject_name"), "kind": equals("e.subject_kind"),
		},
		words: is(`(lower(e.subject_name) LIKE ? ESCAPE '\' OR lower(e.actor) LIKE ? ESCAPE '\' OR lower(e.what) LIKE ? ESCAPE '\')`),
		sorts: map[string]sortKey{"id": {expr: "e.id", number: true}},
		sort:  "-id",
	}, q, scanEvent)
}

// PruneBatch is how much PruneEvents and PruneTasks forget in one go: whoever
// wants to write waits no longer than that takes.
const PruneBatch = 1000

// PruneEvents forgets events from before a time and returns how many: the oldest
// PruneBatch, or fewer when those are all. They are found by their ids, which
// rise with time, so nothing newer is looked at.
func (tx *Tx) PruneEvents(before time.Time) (int, error) {
	n, err := tx.affected(`DELETE FROM events WHERE id IN (SELECT e.id FROM events e ORDER BY e.id LIMIT $1) AND at < $2`, PruneBatch, ms(before))
	if err != nil {
		return 0, fmt.Errorf("prune events: %w", err)
	}
	return n, nil
}
