package baadal

import (
	"encoding/json"
	"time"
)

// Event is one line of history and one message of the event stream. Its id
// rises; a reader that was away continues after the last id it saw.
type Event struct {
	ID             int64           `json:"id"`
	At             time.Time       `json:"at"`
	Topic          string          `json:"topic" doc:"vm, host, datastore, template, network, task, user, setting"`
	Subject        Subject         `json:"subject"`
	Version        int64           `json:"version" doc:"The subject's generation after the change."`
	What           string          `json:"what" doc:"created, state, updated, deleted …"`
	ActorID        int64           `json:"actor_id"`
	Actor          string          `json:"actor"`
	OwnerID        int64           `json:"-"` // who may see it beside admins
	OrganisationID int64           `json:"-"`
	Changes        json.RawMessage `json:"changes,omitempty" doc:"{field: {old, new}}"`
}

// Changed is what a change made of one field.
type Changed struct {
	Old any `json:"old"`
	New any `json:"new"`
}

// Changes are the fields that a change touched, by their JSON names.
type Changes map[string]Changed

// JSON writes the fields that are another now; nil if none is.
func (c Changes) JSON() (json.RawMessage, error) {
	really := make(Changes, len(c))
	for field, ch := range c {
		if ch.Old != ch.New {
			really[field] = ch
		}
	}
	if len(really) == 0 {
		return nil, nil
	}
	return json.Marshal(really)
}
