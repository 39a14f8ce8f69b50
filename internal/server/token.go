package server

import (
	"context"

	"baadal"
)

func (s *Server) tokenRoutes() []route {
	return []route{
		on("GET", "/tokens", "list-tokens", "List your tokens", baadal.ActionTokenRead, s.listTokens),
		on("POST", "/tokens", "create-token", "Create a token for programs; its secret is shown once", baadal.ActionTokenCreate,
			s.createToken, created, codes("exists")),
		on("DELETE", "/tokens/{id}", "revoke-token", "Revoke a token", baadal.ActionTokenRevoke, s.revokeToken, noContent),
	}
}

func (s *Server) listTokens(ctx context.Context, _ *struct{}) (*listOut[baadal.Token], error) {
	return all(s.svc.Tokens(ctx, actor(ctx)))
}

// TokenCreate is the wish for a new token.
type TokenCreate struct {
	Name string `json:"name" minLength:"1" maxLength:"64" doc:"What it is for."`
	TTL  string `json:"ttl,omitempty" maxLength:"16" doc:"How long it is good for, as 720h; without end if empty."`
}

// TokenCreated is a new token with its secret.
type TokenCreated struct {
	Token  baadal.Token `json:"token"`
	Secret string       `json:"secret" doc:"Send it as Authorization: Bearer. It is not shown again."`
}

func (s *Server) createToken(ctx context.Context, in *struct{ Body TokenCreate }) (*struct{ Body TokenCreated }, error) {
	ttl, err := parseDuration("ttl", in.Body.TTL)
	if err != nil {
		return nil, err
	}
	t, secret, err := s.svc.CreateToken(ctx, actor(ctx), in.Body.Name, ttl)
	return &struct{ Body TokenCreated }{TokenCreated{Token: t, Secret: secret}}, err
}

func (s *Server) revokeToken(ctx context.Context, in *struct{ ID }) (*struct{}, error) {
	return nil, s.svc.RevokeToken(ctx, actor(ctx), in.ID.ID)
}
