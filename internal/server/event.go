package server

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"baadal"
)

func (s *Server) eventRoutes() []route {
	return []route{
		on("GET", "/events", "stream-events", "Follow what changes, as server-sent events", baadal.ActionEventRead, s.streamEvents,
			eventStream, codes("too_many_streams")),
		on("GET", "/event-log", "list-events", "List what changed", baadal.ActionEventRead, s.listEvents),
	}
}

func (s *Server) listEvents(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Event], error) {
	return listed(s.svc.EventList(ctx, actor(ctx), in.query()))
}

// eventStream describes the stream, which huma does not write.
func eventStream(r *route) {
	r.response = &huma.Response{
		Description: "A stream of server-sent events: event is the topic, id the event's id, data an Event as JSON. " +
			"A comment comes when nothing else did for a while. The event reset says that the id to resume after is not kept " +
			"any more: load everything again.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
}

type streamIn struct {
	Topics      []string `query:"topics" maxItems:"16" doc:"Only these: vm, host, datastore, template, network, task, user, setting."`
	IDs         []int64  `query:"ids" maxItems:"1000" doc:"Only subjects with these ids."`
	LastEventID int64    `header:"Last-Event-ID" minimum:"0" doc:"Resume after this event; browsers send it by themselves."`
	LastID      int64    `query:"last_event_id" minimum:"0" doc:"The same for a first connection. Without either the stream starts now."`
}

func (s *Server) streamEvents(ctx context.Context, in *streamIn) (*huma.StreamResponse, error) {
	last, reset, err := s.resumeAfter(ctx, max(in.LastEventID, in.LastID))
	if err != nil {
		return nil, err
	}
	release, err := s.streams.enter(actor(ctx).User.ID)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer release()
		st := stream{s: s, actor: actor(ctx), topics: in.Topics, ids: in.IDs, last: last}
		st.run(hc, reset)
	}}, nil
}

// resumeAfter returns the event to continue after: the client's, or the newest
// one. Reset says that events after the client's are no longer kept, or that
// its id is of another database.
func (s *Server) resumeAfter(ctx context.Context, asked int64) (last int64, reset bool, err error) {
	newest, err := s.svc.LastEventID(ctx)
	if err != nil || asked == 0 {
		return newest, false, err
	}
	if asked > newest {
		return newest, true, nil
	}
	oldest, err := s.svc.EventList(ctx, baadal.System(), baadal.ListQuery{Limit: 1, Sort: "id"})
	if err != nil {
		return 0, false, err
	}
	if len(oldest.Items) == 0 {
		return newest, asked < newest, nil
	}
	if asked+1 < oldest.Items[0].ID {
		return newest, true, nil
	}
	return asked, false, nil
}
