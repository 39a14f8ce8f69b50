package service

import (
	"context"
	"time"

	"baadal"
	"baadal/internal/auth"
	"baadal/internal/store"
)

// Tokens lists the actor's tokens.
func (s *Service) Tokens(ctx context.Context, a baadal.Actor) (all []baadal.Token, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) (err error) { all, err = tx.Tokens(a.User.ID); return err })
	return all, err
}

// CreateToken makes a token for programs; its secret is returned this once.
// A ttl of 0 means that it does not expire.
func (s *Service) CreateToken(ctx context.Context, a baadal.Actor, name string, ttl time.Duration) (t baadal.Token, secret string, err error) {
	if name == "" || len(name) > 100 {
		return t, "", baadal.Errorf(baadal.Invalid, "a token needs a name of at most 100 characters").WithField("name")
	}
	if ttl < 0 {
		return t, "", baadal.Errorf(baadal.Invalid, "a token cannot have ended before it begins").WithField("ttl")
	}
	secret = auth.NewSecret(auth.TokenPrefix)
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		t = baadal.Token{UserID: a.User.ID, Name: name}
		if ttl > 0 {
			end := tx.Now().Add(ttl)
			t.ExpiresAt = &end
		}
		if err := tx.CreateToken(&t, auth.HashSecret(secret)); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: userSubject(a.User), What: "token created", OwnerID: a.User.ID}, map[string]any{"name": name})
	})
	return t, secret, err
}

// RevokeToken ends a token at once; administrators may end anyone's.
func (s *Service) RevokeToken(ctx context.Context, a baadal.Actor, id int64) error {
	owner := a.User.ID
	if a.ScopeOf(baadal.ActionTokenRevoke) == baadal.ScopeAny {
		owner = 0
	}
	return s.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteToken(owner, id); err != nil {
			return err
		}
		return event(tx, a, baadal.Event{Subject: userSubject(a.User), What: "token revoked", OwnerID: a.User.ID}, map[string]any{"token": id})
	})
}
