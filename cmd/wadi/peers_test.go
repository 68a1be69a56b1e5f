package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/catalog/peerhttp"
	"github.com/wadilog/wadi/internal/objstore/stores"
)

// slotOf reads a slot of a folder store, as whoever can read the bucket may.
func slotOf(t *testing.T, store string, slot journal.Slot) journal.Entry {
	t.Helper()
	bucket, closeBucket, err := stores.Open(t.Context(), store, stores.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeBucket() }()
	j, err := journal.New(journal.DefaultConfig(), bucket, "000", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := j.Read(t.Context(), slot)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func clusterID(t *testing.T, store string) [16]byte { return [16]byte(slotOf(t, store, 0).Payload) }

// TestPeersHaveAListenerOfTheirOwn: what nodes ask of each other is not on the
// public one, the public API is not on theirs, and strangers get nothing.
func TestPeersHaveAListenerOfTheirOwn(t *testing.T) {
	for _, secret := range []string{"", "of ours"} {
		t.Run("secret "+secret, func(t *testing.T) {
			store := folderStore(t)
			n := startNode(t, store, "--wal=off", "--peer-secret", secret)
			for _, path := range []string{"/internal/v1/forward", "/internal/v1/pull"} {
				if status, _, err := n.try(http.MethodPost, path, "", "x"); err != nil || status != http.StatusNotFound {
					t.Errorf("%s of the public listener: %d, %v", path, status, err)
				}
				if status, _, _, err := n.exchange(http.MethodPost, n.peers+path, "", "x"); err != nil || status != http.StatusUnauthorized {
					t.Errorf("%s of the peer listener, to a stranger: %d, %v", path, status, err)
				}
			}
			for _, path := range []string{"/v1/topics", "/metrics", "/readyz"} {
				if status, _, _, err := n.exchange(http.MethodGet, n.peers+path, "", ""); err != nil || status != http.StatusNotFound {
					t.Errorf("%s of the peer listener: %d, %v", path, status, err)
				}
			}
			id := clusterID(t, store)
			for who, c := range map[string]struct {
				token  peerhttp.Token
				served bool
			}{
				"a node of the cluster":        {peerhttp.NewToken(id, secret), true},
				"one with another secret":      {peerhttp.NewToken(id, "another"), false},
				"one of another cluster":       {peerhttp.NewToken([16]byte{1}, secret), false},
				"who knows the secret, no id":  {peerhttp.NewToken([16]byte{}, secret), false},
				"who has the id as the secret": {peerhttp.NewToken([16]byte{}, string(id[:])), false},
			} {
				client, err := peerhttp.NewClient(peerhttp.DefaultConfig(), func() (peerhttp.Token, bool) { return c.token, true }, prometheus.NewRegistry())
				if err != nil {
					t.Fatal(err)
				}
				// No leader was ever in epoch 99, so whoever is served is told who leads.
				_, err = client.Forward(t.Context(), n.peers, catalog.ForwardRequest{Epoch: 99, Seq: 1})
				client.Close()
				var other *catalog.NotLeaderError
				if served := errors.As(err, &other); served != c.served {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

// TestTheClaimNamesThePeerListener, or what --advertise says.
func TestTheClaimNamesThePeerListener(t *testing.T) {
	for _, advertised := range []string{"", "http://node-7.example:7171/wadi"} {
		store := folderStore(t)
		n := startNode(t, store, "--wal=off", "--advertise", advertised)
		n.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
		want := n.peers
		if advertised != "" {
			want = advertised
		}
		if e := slotOf(t, store, 1); e.Kind != journal.Claim || e.Writer != want {
			t.Errorf("slot 1 is a %s of %q, want a claim of %q", e.Kind, e.Writer, want)
		}
	}
}

// TestNothingPublicHasTheClustersID: it is what nodes know each other by.
func TestNothingPublicHasTheClustersID(t *testing.T) {
	store := folderStore(t)
	n := startNode(t, store, "--wal=off", "--log-level", "debug")
	n.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":1}`)
	n.must(http.StatusOK, http.MethodPost, "/v1/topics/a/records", "text/plain", "record")
	said := n.stderr.String()
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/topics", "/v1/topics/a", "/v1/topics/a/partitions/0/offsets",
		"/v1/topics/a/partitions/0/records?offset=0", "/v1/topics/missing", "/nothing"} {
		_, header, text, err := n.exchange(http.MethodGet, n.url+path, "", "")
		if err != nil {
			t.Fatal(err)
		}
		h, _ := json.Marshal(header)
		said += text + string(h)
	}
	said += n.must(http.StatusOK, http.MethodPost, "/v1/producers", "", "")
	id := clusterID(t, store)
	u := fmt.Sprintf("%x", id)
	for form, secret := range map[string]string{
		"bytes": string(id[:]), "hex": u,
		"uuid":  fmt.Sprintf("%s-%s-%s-%s-%s", u[:8], u[8:12], u[12:16], u[16:20], u[20:]),
		"token": string(peerhttp.NewToken(id, "")),
	} {
		if strings.Contains(strings.ToLower(said), secret) {
			t.Errorf("the cluster's id is public, as %s", form)
		}
	}
}
