package service

import (
	"context"
	"time"
	"unicode/utf8"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/store"
)

func wrongPassword() error {
	return baadal.Errorf(baadal.Unauthenticated, "user name or password is wrong").WithCode("sign_in_failed")
}

func notSignedIn() error {
	return baadal.Errorf(baadal.Unauthenticated, "not signed in").WithCode("not_signed_in").WithNext("Sign in", "baadal login")
}

// SignIn checks a password and opens a session. Unknown and blocked users and
// wrong passwords all get the same answer in the same time.
func (s *Service) SignIn(ctx context.Context, username, password, remoteAddr string) (secret string, user baadal.User, err error) {
	if err := s.limiter.Attempt(username, remoteAddr); err != nil {
		return "", user, err
	}
	var hash string
	err = s.db.View(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.UserByName(username)
		if err == nil && !user.Blocked {
			hash, err = tx.PasswordHash(user.ID)
		}
		return err
	})
	if err != nil && baadal.KindOf(err) != baadal.NotFound {
		return "", user, err
	}
	ok, outdated, err := s.hasher.Verify(ctx, hash, password)
	if err != nil {
		return "", user, err
	}
	if !ok {
		return "", baadal.User{}, wrongPassword()
	}
	s.limiter.Succeeded(username, remoteAddr)
	fresh := ""
	if outdated {
		if fresh, err = s.hasher.Hash(ctx, password); err != nil {
			return "", user, err
		}
	}
	secret = auth.NewSecret(auth.SessionPrefix)
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		if fresh != "" {
			if err := tx.SetPassword(user.ID, fresh, user.MustChange); err != nil {
				return err
			}
		}
		return tx.CreateSession(auth.HashSecret(secret), user.ID, tx.Now().Add(s.opt.SessionTTL))
	})
	return secret, user, err
}

// SignOut ends a session; one that is over already is fine.
func (s *Service) SignOut(ctx context.Context, secret string) error {
	return s.db.Update(ctx, func(tx *store.Tx) error { return tx.DeleteSession(auth.HashSecret(secret)) })
}

// Authenticate says who a session or token secret belongs to.
func (s *Service) Authenticate(ctx context.Context, secret string) (baadal.Actor, error) {
	var a baadal.Actor
	var touch int64
	err := s.db.View(ctx, func(tx *store.Tx) error {
		var id int64
		switch {
		case auth.IsSecret(auth.TokenPrefix, secret):
			t, err := tx.TokenByHash(auth.HashSecret(secret))
			if err != nil {
				return err
			}
			id, a.Token = t.UserID, t.ID
			if t.LastUsed == nil || tx.Now().Sub(*t.LastUsed) > time.Minute {
				touch = t.ID
			}
		case auth.IsSecret(auth.SessionPrefix, secret):
			var err error
			if id, err = tx.SessionUser(auth.HashSecret(secret)); err != nil {
				return err
			}
		default:
			return notSignedIn()
		}
		var err error
		a.User, err = tx.User(id)
		return err
	})
	if baadal.KindOf(err) == baadal.NotFound || (err == nil && a.User.Blocked) {
		return baadal.Actor{}, notSignedIn()
	}
	if err == nil && touch != 0 {
		// When a token was last used is only told to people: not worth failing for.
		if terr := s.db.Update(ctx, func(tx *store.Tx) error { return tx.TouchToken(touch) }); terr != nil {
			s.log.Warn("token use not noted", "token_id", touch, "error", terr)
		}
	}
	return a, err
}

func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < baadal.MinPassword {
		return baadal.Errorf(baadal.Invalid, "the password is too short").WithField("password").
			WithDetail("%d characters are needed", baadal.MinPassword)
	}
	return nil
}

// ChangePassword changes the actor's own password and ends all his sessions but
// tokens, which are revoked one by one.
func (s *Service) ChangePassword(ctx context.Context, a baadal.Actor, old, fresh string) error {
	if err := checkPassword(fresh); err != nil {
		return err
	}
	if err := s.limiter.Attempt(a.User.Username, ""); err != nil {
		return err
	}
	var hash string
	err := s.db.View(ctx, func(tx *store.Tx) (err error) { hash, err = tx.PasswordHash(a.User.ID); return err })
	if err != nil {
		return err
	}
	if ok, _, err := s.hasher.Verify(ctx, hash, old); err != nil {
		return err
	} else if !ok {
		return baadal.Errorf(baadal.Invalid, "the old password is wrong").WithField("old")
	}
	s.limiter.Succeeded(a.User.Username, "")
	if old == fresh {
		return baadal.Errorf(baadal.Invalid, "the new password is the old one").WithField("new")
	}
	if hash, err = s.hasher.Hash(ctx, fresh); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetPassword(a.User.ID, hash, false); err != nil {
			return err
		}
		if err := tx.DeleteSessionsOf(a.User.ID); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: userSubject(a.User), What: "password changed", OwnerID: a.User.ID}, nil)
	})
}
