package peerhttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// Token is what nodes of one cluster show each other.
type Token string

// NewToken derives the token of a cluster from its id, and from a secret if
// there is one. The id is part of it either way, since a forward that reached
// another cluster would change that one.
func NewToken(clusterID [16]byte, secret string) Token {
	mac := hmac.New(sha256.New, clusterID[:])
	mac.Write([]byte("wadi peer token 1\x00"))
	mac.Write([]byte(secret))
	return Token(hex.EncodeToString(mac.Sum(nil)))
}

// Identity returns the token of this node; false before it is known, which is
// once the catalog is loaded.
type Identity func() (Token, bool)

const (
	authorizationHeader = "Authorization"
	tokenScheme         = "Wadi-Peer "
)

func (t Token) show(h http.Header) { h.Set(authorizationHeader, tokenScheme+string(t)) }

// shownIn tells whether a request shows t, in a time that depends on the length
// alone of what it shows.
func (t Token) shownIn(h http.Header) bool {
	shown, ok := strings.CutPrefix(h.Get(authorizationHeader), tokenScheme)
	return ok && hmac.Equal([]byte(shown), []byte(t))
}
