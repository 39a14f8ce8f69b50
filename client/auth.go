package client

import (
	"context"
	"net/http"

	"baadal"
)

// SignedIn is who signed in.
type SignedIn struct {
	User       baadal.User `json:"user"`
	MustChange bool        `json:"must_change_password"`
}

// SignIn opens a session; further calls carry it. If MustChange is true, only
// ChangePassword, Me and SignOut are possible before the password is changed.
func (c *Client) SignIn(ctx context.Context, username, password string) (SignedIn, error) {
	var out SignedIn
	body := map[string]string{"username": username, "password": password}
	h, err := c.do(ctx, request{method: http.MethodPost, path: "/auth/sign-in", body: body}, &out)
	if err != nil {
		return out, err
	}
	answer := http.Response{Header: h}
	for _, cookie := range answer.Cookies() {
		if cookie.Name == "baadal_session" {
			c.SetToken(cookie.Value)
			return out, nil
		}
	}
	return out, baadal.Errorf(baadal.Internal, "the server at %s gave no session", c.base).WithCode("bad_answer")
}

// SignOut ends the session; further calls carry nothing.
func (c *Client) SignOut(ctx context.Context) error {
	_, err := c.do(ctx, request{method: http.MethodPost, path: "/auth/sign-out"}, nil)
	if err == nil {
		c.SetToken("")
	}
	return err
}

// ChangePassword changes one's own password.
func (c *Client) ChangePassword(ctx context.Context, current, wanted string) error {
	_, err := c.do(ctx, request{method: http.MethodPost, path: "/auth/password", body: map[string]string{"old": current, "new": wanted}}, nil)
	return err
}

// Me returns the user that calls are made as.
func (c *Client) Me(ctx context.Context) (baadal.User, error) {
	return call[baadal.User](ctx, c, get("/me", nil))
}
