package server

import (
	"context"

	"baadal"
)

func (s *Server) datastoreRoutes() []route {
	return []route{
		on("GET", "/datastores", "list-datastores", "List datastores", baadal.ActionDatastoreRead, s.listDatastores),
		on("POST", "/datastores", "add-datastore", "Add a datastore that the hosts have mounted", baadal.ActionDatastoreAdd,
			s.addDatastore, creation, codes("exists", "bad_name")),
		on("GET", "/datastores/{ref}", "get-datastore", "Show a datastore", baadal.ActionDatastoreRead, s.getDatastore),
		on("DELETE", "/datastores/{ref}", "remove-datastore", "Remove a datastore that holds nothing of ours",
			baadal.ActionDatastoreRemove, s.removeDatastore, change, codes("stale", "datastore_in_use")),
	}
}

func (s *Server) listDatastores(ctx context.Context, in *struct{ Page }) (*listOut[baadal.Datastore], error) {
	return listed(s.svc.Datastores(ctx, actor(ctx), in.query()))
}

func (s *Server) addDatastore(ctx context.Context, in *struct {
	Dry
	Body baadal.DatastoreAdd
},
) (*changeOut[baadal.Datastore], error) {
	return made(s.svc.AddDatastore(ctx, actor(ctx), in.Body, in.change()))
}

func (s *Server) getDatastore(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.Datastore], error) {
	return one(s.svc.Datastore(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) removeDatastore(ctx context.Context, in *changeIn) (*changeOut[baadal.Datastore], error) {
	return changed(s.svc.RemoveDatastore(ctx, actor(ctx), in.Ref.Ref, in.change()))
}
