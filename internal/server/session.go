package server

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"baadal"
)

// cookieName is the session's cookie.
const cookieName = "baadal_session"

// authenticate finds out who asks and refuses what no role of theirs may do.
// What depends on the thing asked for is the service's.
func (s *Server) authenticate(rt *route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		if err := s.admit(r, rt.action); err != nil {
			s.writeProblem(w, r, err)
			return
		}
		next(hc)
	}
}

// admit lets a call in, and fills in its actor.
func (s *Server) admit(r *http.Request, action baadal.Action) error {
	a, err := s.admitted(r, action)
	callOf(r.Context()).actor = a
	return err
}

// admitted is the order of the checks at the door. The actor is known also when
// it is refused what it wants.
func (s *Server) admitted(r *http.Request, action baadal.Action) (a baadal.Actor, err error) {
	secret, fromCookie := credential(r)
	if fromCookie || secret == "" {
		if err := s.csrf.Check(r); err != nil {
			return a, baadal.Errorf(baadal.Forbidden, "the request comes from another site").WithCode("cross_origin")
		}
	}
	if action == baadal.ActionPublic {
		return a, nil
	}
	if secret == "" {
		return a, baadal.Errorf(baadal.Unauthenticated, "not signed in").WithCode("not_signed_in").WithNext("Sign in", "baadal login")
	}
	if a, err = s.svc.Authenticate(r.Context(), secret); err != nil {
		return a, err //nolint:wrapcheck // the words are for the caller
	}
	if a.User.MustChange && action != baadal.ActionSelf {
		return a, baadal.Errorf(baadal.Forbidden, "change your password first").WithCode("password_change_required").
			WithDetail("the present one was only for the first sign-in").WithNext("Change it", "baadal passwd")
	}
	if a.ScopeOf(action) == baadal.ScopeNone {
		return a, baadal.Errorf(baadal.Forbidden, "that is not yours to do").
			WithDetail("%s is none of your roles' permissions", action)
	}
	return a, nil
}

// credential returns the secret that a request carries: an Authorization
// header goes before the cookie.
func credential(r *http.Request) (secret string, fromCookie bool) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(rest) != "" {
			return strings.TrimSpace(rest), false
		}
		return "-", false // something was meant, and it is not valid
	}
	if c, err := r.Cookie(cookieName); err == nil && c.Value != "" {
		return c.Value, true
	}
	return "", false
}

// sessionCookie makes the cookie that carries a session; an empty secret
// takes it away.
func sessionCookie(secret string, secure bool) string {
	c := http.Cookie{Name: cookieName, Value: secret, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
	if secret == "" {
		c.MaxAge = -1
	}
	return c.String()
}
