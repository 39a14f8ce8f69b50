package client

import (
	"context"
	"net/http"
	"time"

	"baadal"
)

// TokenCreated is a new token with its secret, which is shown once.
type TokenCreated struct {
	Token  baadal.Token `json:"token"`
	Secret string       `json:"secret"`
}

// Tokens returns the caller's tokens.
func (c *Client) Tokens(ctx context.Context) (baadal.List[baadal.Token], error) {
	return call[baadal.List[baadal.Token]](ctx, c, get("/tokens", nil))
}

// CreateToken makes a token that is good for ttl; without end if that is 0.
func (c *Client) CreateToken(ctx context.Context, name string, ttl time.Duration) (TokenCreated, error) {
	body := map[string]string{"name": name}
	if ttl > 0 {
		body["ttl"] = ttl.String()
	}
	return call[TokenCreated](ctx, c, request{method: http.MethodPost, path: "/tokens", body: body})
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, tokenID int64) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: at("tokens", id(tokenID))}, nil)
	return err
}
