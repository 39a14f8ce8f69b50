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
