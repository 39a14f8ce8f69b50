package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"baadal"
)

func (s *Server) userRoutes() []route {
	return []route{
		on("GET", "/users", "list-users", "List users", baadal.ActionUserRead, s.listUsers),
		on("POST", "/users", "create-user", "Create a user", baadal.ActionUserCreate, s.createUser,
			created, replayable(withoutPassword), codes("exists", "bad_name", "bad_ssh_key", "sign_in_busy")),
		on("GET", "/users/{ref}", "get-user", "Show a user", baadal.ActionUserRead, s.getUser),
		on("PATCH", "/users/{ref}", "update-user", "Change a user", baadal.ActionUserUpdate, s.updateUser,
			codes("stale", "bad_ssh_key", "last_admin", "sign_in_busy")),
		on("GET", "/organisations", "list-organisations", "List organisations", baadal.ActionUserRead, s.listOrganisations),
	}
}

func (s *Server) listUsers(ctx context.Context, in *struct{ Page }) (*listOut[baadal.User], error) {
	return listed(s.svc.Users(ctx, actor(ctx), in.query()))
}

// UserCreated is a new user with the password that was made for him.
type UserCreated struct {
	User            baadal.User `json:"user"`
	OneTimePassword string      `json:"one_time_password,omitempty" doc:"Shown once; to be changed at the first sign-in. Empty if a password was given."`
}

type userCreatedOut struct {
	Status   int
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     UserCreated
}

func (s *Server) createUser(ctx context.Context, in *struct {
	Dry
	Body baadal.UserCreate
},
) (*userCreatedOut, error) {
	u, password, err := s.svc.CreateUser(ctx, actor(ctx), in.Body, in.change())
	out := &userCreatedOut{Status: http.StatusOK, Body: UserCreated{User: u, OneTimePassword: password}}
	if !in.DryRun {
		out.Status, out.Location, out.ETag = http.StatusCreated, fmt.Sprintf("%s/users/%d", Prefix, u.ID), etag(&u)
	}
	return out, err
}

// withoutPassword is the answer that is kept for a repetition: the password is
// shown once.
func withoutPassword(body []byte) []byte {
	var c UserCreated
	if json.Unmarshal(body, &c) != nil {
		return []byte("{}")
	}
	c.OneTimePassword = ""
	clean, err := json.Marshal(c)
	if err != nil {
		return []byte("{}")
	}
	return clean
}

func (s *Server) getUser(ctx context.Context, in *struct{ Ref }) (*oneOut[baadal.User], error) {
	return one(s.svc.User(ctx, actor(ctx), in.Ref.Ref))
}

func (s *Server) updateUser(ctx context.Context, in *struct {
	Ref
	Options
	Body baadal.UserUpdate
},
) (*oneOut[baadal.User], error) {
	return one(s.svc.UpdateUser(ctx, actor(ctx), in.Ref.Ref, in.Body, in.change()))
}

func (s *Server) listOrganisations(ctx context.Context, _ *struct{}) (*listOut[baadal.Organisation], error) {
	return all(s.svc.Organisations(ctx, actor(ctx)))
}
