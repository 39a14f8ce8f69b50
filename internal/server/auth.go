package server

import (
	"context"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

func (s *Server) authRoutes() []route {
	return []route{
		on("POST", "/auth/sign-in", "sign-in", "Sign in with a password; the session is a cookie", baadal.ActionPublic, s.signIn,
			codes("sign_in_failed", "sign_in_limited", "sign_in_busy")),
		on("POST", "/auth/sign-out", "sign-out", "End the session", baadal.ActionSelf, s.signOut, noContent),
		on("POST", "/auth/password", "change-password", "Change your password; other sessions end", baadal.ActionSelf,
			s.changePassword, noContent, codes("sign_in_limited", "sign_in_busy")),
		on("GET", "/me", "get-me", "Show yourself", baadal.ActionSelf, s.getMe),
	}
}

// SignIn is a name with its password.
type SignIn struct {
	Username string `json:"username" minLength:"1" maxLength:"64"`
	Password string `json:"password" minLength:"1" maxLength:"256"`
}

// SignedIn is who signed in. MustChange repeats the
// user's own field for forms that ask for a new password.
type SignedIn struct {
	User       baadal.User `json:"user"`
	MustChange bool        `json:"must_change_password" doc:"Until it is changed, nothing else is possible."`
}

type signInOut struct {
	SetCookie string `header:"Set-Cookie" doc:"The session: HttpOnly, SameSite=Strict."`
	Body      SignedIn
}

func (s *Server) signIn(ctx context.Context, in *struct{ Body SignIn }) (*signInOut, error) {
	c := callOf(ctx)
	secret, u, err := s.svc.SignIn(ctx, in.Body.Username, in.Body.Password, c.remote)
	return &signInOut{SetCookie: sessionCookie(secret, c.secure), Body: SignedIn{User: u, MustChange: u.MustChange}}, err
}

type signOutOut struct {
	SetCookie string `header:"Set-Cookie" doc:"Takes the session's cookie away."`
}

// signOutIn knows the session's secret, which the service does not get from
// the actor.
type signOutIn struct{ secret string }

// Resolve takes the secret from the request.
func (in *signOutIn) Resolve(hc huma.Context) []error {
	r, _ := humago.Unwrap(hc)
	in.secret, _ = credential(r)
	return nil
}

func (s *Server) signOut(ctx context.Context, in *signOutIn) (*signOutOut, error) {
	return &signOutOut{SetCookie: sessionCookie("", false)}, s.svc.SignOut(ctx, in.secret)
}

// PasswordChange is the old password and the new one.
type PasswordChange struct {
	Old string `json:"old" minLength:"1" maxLength:"256"`
	New string `json:"new" minLength:"10" maxLength:"256"`
}

func (s *Server) changePassword(ctx context.Context, in *struct{ Body PasswordChange }) (*struct{}, error) {
	return nil, s.svc.ChangePassword(ctx, actor(ctx), in.Body.Old, in.Body.New)
}

func (s *Server) getMe(ctx context.Context, _ *struct{}) (*oneOut[baadal.User], error) {
	a := actor(ctx)
	return one(s.svc.User(ctx, a, strconv.FormatInt(a.User.ID, 10)))
}
