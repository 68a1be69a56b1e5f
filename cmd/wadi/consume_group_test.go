package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// groupMember answers the requests of one member, which has partition 0 of topic t
// with five records.
type groupMember struct {
	left    bool
	commits []int64
	polls   int
}

func (m *groupMember) handle(mux *http.ServeMux) {
	type offset struct{ Offset int64 }
	mux.HandleFunc("POST /v1/groups/{g}/members", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 201, map[string]any{"epoch": 1, "session_timeout_ms": 30_000, "assignment": []client.TopicPartitions{{Topic: "t", Partitions: []int32{0}}}})
	})
	mux.HandleFunc("POST /v1/groups/{g}/members/{action}", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.PathValue("action"), ":heartbeat") {
			answer(w, 200, map[string]any{})
			return
		}
		m.polls++
		records := []any{}
		for o := range 5 {
			records = append(records, map[string]any{"offset": o, "timestamp": o, "key": nil, "value": "v", "headers": []any{}})
		}
		answer(w, 200, map[string]any{"epoch": 1, "partitions": []any{map[string]any{"topic": "t", "partition": 0, "records": records, "next_offset": 5}}})
	})
	mux.HandleFunc("PUT /v1/groups/{g}/offsets", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Offsets []offset }
		if json.NewDecoder(r.Body).Decode(&body) == nil {
			for _, o := range body.Offsets {
				m.commits = append(m.commits, o.Offset)
			}
		}
		w.WriteHeader(204)
	})
	mux.HandleFunc("DELETE /v1/groups/{g}/members/{m}", func(w http.ResponseWriter, _ *http.Request) {
		m.left = true
		w.WriteHeader(204)
	})
}

// TestConsumeInGroup: what was printed is committed, and no more than that.
func TestConsumeInGroup(t *testing.T) {
	for args, want := range map[string]struct {
		printed string
		commit  int64
		left    bool
	}{
		"-n 3":                   {"0\n1\n2\n", 3, true},
		"-n 5 --from latest":     {"0\n1\n2\n3\n4\n", 5, true},
		"-n 3 --member-id job-7": {"0\n1\n2\n", 3, false},
	} {
		node := newFakeNode(t)
		member := &groupMember{}
		mux := http.NewServeMux()
		member.handle(mux)
		node.server.Handler = mux
		s := &session{t: t, node: node}
		if got := s.must(append([]string{"consume", "t", "u", "--group", "g", "--format", "%o"}, strings.Fields(args)...)...); got != want.printed {
			t.Errorf("%s: printed %q", args, got)
		}
		if len(member.commits) != 1 || member.commits[0] != want.commit || member.left != want.left || member.polls != 1 {
			t.Errorf("%s: %+v", args, member)
		}
	}
}

func TestConsumeGroupFlags(t *testing.T) {
	node := newFakeNode(t)
	node.topic("t", 1)
	node.put(t, "t", 0, recordbatch.None, numbered(0, 1))
	s := &session{t: t, node: node}
	for args, want := range map[string]string{
		"t u":                           "several topics need --group",
		"t --member-id m":               "--member-id needs --group",
		"t --group g -p 0":              "--partition has no meaning with --group",
		"t --group g -f":                "--follow has no meaning with --group",
		"t --group g --from 7":          "--from is earliest or latest with --group",
		"t t --group g":                 "topic t is there twice",
		"t --group g --strategy eager":  "neither cooperative-sticky nor range",
		"t --group g --session-timeout": "flag needs an argument",
	} {
		if got := s.run(append([]string{"consume"}, strings.Fields(args)...)...); got.status != exitUsage || !strings.Contains(got.err, want) {
			t.Errorf("%s: status %d: %s", args, got.status, got.err)
		}
	}
}
