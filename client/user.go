package client

import (
	"context"
	"net/http"

	"baadal"
)

// UserCreated is a new user with the password that was made for him.
type UserCreated struct {
	User            baadal.User `json:"user"`
	OneTimePassword string      `json:"one_time_password,omitempty"` // shown once; empty if a password was given
}

// Users returns one page.
func (c *Client) Users(ctx context.Context, q baadal.ListQuery) (baadal.List[baadal.User], error) {
	return call[baadal.List[baadal.User]](ctx, c, get("/users", listQuery(q)))
}

// User returns one user by id or user name.
func (c *Client) User(ctx context.Context, ref string) (baadal.User, error) {
	return call[baadal.User](ctx, c, get(at("users", ref), nil))
}

// CreateUser makes a user. An answer that was lost on the way is asked for
// again, and comes then without the one-time password: set a new one.
func (c *Client) CreateUser(ctx context.Context, in baadal.UserCreate, opt baadal.ChangeOptions) (UserCreated, error) {
	return call[UserCreated](ctx, c, create("/users", in, opt))
}

// UpdateUser changes what is not nil.
func (c *Client) UpdateUser(ctx context.Context, ref string, in baadal.UserUpdate, opt baadal.ChangeOptions) (baadal.User, error) {
	return call[baadal.User](ctx, c, change(http.MethodPatch, at("users", ref), in, opt))
}

// Organisations returns all that the caller may see.
func (c *Client) Organisations(ctx context.Context) (baadal.List[baadal.Organisation], error) {
	return call[baadal.List[baadal.Organisation]](ctx, c, get("/organisations", nil))
}
