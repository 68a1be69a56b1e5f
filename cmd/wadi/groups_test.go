package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// groupSession is a node with two topics, a group whose members are there, and one
// whose members have left.
func groupSession(t *testing.T) *session {
	t.Helper()
	s := &session{t: t, node: newFakeNode(t)}
	s.node.topic("orders", 3)
	s.node.topic("flights", 1)
	for p := range 3 {
		s.node.put(t, "orders", p, recordbatch.None, numbered(0, 10))
	}
	s.node.put(t, "flights", 0, recordbatch.None, numbered(0, 5))
	job := "job/7"
	s.node.groups["billing"] = &fakeGroup{
		offsets: map[fakePlace]int64{{"orders", 0}: 4},
		members: []client.GroupMember{
			{ID: "a", ClientID: &job, Epoch: 6, SessionTimeoutMs: 30_000, Topics: []string{"orders"},
				Assignment: []client.TopicPartitions{{Topic: "orders", Partitions: []int32{0, 1, 2}}}},
			{ID: "b", Epoch: 7, SessionTimeoutMs: 5_000, Topics: []string{"flights"},
				Assignment: []client.TopicPartitions{{Topic: "flights", Partitions: []int32{0}}}, Revoked: []client.TopicPartitions{{Topic: "orders", Partitions: []int32{0, 2}}}},
		},
	}
	s.node.groups["old"] = &fakeGroup{offsets: map[fakePlace]int64{{"orders", 0}: 7, {"orders", 2}: 10, {"flights", 0}: 5}}
	return s
}

func TestGroups(t *testing.T) {
	s := groupSession(t)
	for _, c := range []struct {
		args   string
		status int
		want   string // all of standard output, or part of standard error
	}{
		{"groups list", exitOK, "GROUP    STATE   STRATEGY  MEMBERS\nbilling  stable  range     2\nold      empty   -         0\n"},
		{"groups list --prefix o", exitOK, "GROUP  STATE  STRATEGY  MEMBERS\nold    empty  -         0\n"},
		{"groups describe billing", exitOK, `group     billing
state     stable
strategy  range
epoch     7
lag       31

MEMBER  CLIENT  EPOCH  SESSION  PARTITIONS   TO LET GO
a       job/7   6      30s      orders[0-2]  -
b       -       7      5s       flights[0]   orders[0,2]

TOPIC    PARTITION  COMMITTED  START  END  LAG  MEMBER
flights  0          -          0      5    5    b
orders   0          4          0      10   6    a
orders   1          -          0      10   10   a
orders   2          -          0      10   10   a
`},
		{"groups describe old", exitOK, `group     old
state     empty
strategy  -
epoch     7
lag       3

TOPIC    PARTITION  COMMITTED  START  END  LAG  MEMBER
flights  0          5          0      5    0    -
orders   0          7          0      10   3    -
orders   2          10         0      10   0    -
`},
		{"groups describe none", exitFailure, "404 group_not_found"},
		{"groups describe a/b", exitUsage, "is not a name of a group"},
		{"groups describe", exitUsage, "accepts 1 arg"},
		{"groups delete billing", exitFailure, "409 group_not_empty"},
		{"groups delete old", exitOK, "deleted group old\n"},
		{"groups delete old", exitFailure, "404 group_not_found"},
	} {
		got := s.run(strings.Fields(c.args)...)
		if got.status != c.status {
			t.Fatalf("%s: status %d: %s", c.args, got.status, got.err)
		}
		if c.status == exitOK && got.out != c.want || !strings.Contains(got.err, c.want) && c.status != exitOK {
			t.Errorf("%s:\n%s%s, want\n%s", c.args, got.out, got.err, c.want)
		}
	}
	if got := s.must("__complete", "groups", "describe", "bi"); !strings.HasPrefix(got, "billing\n:4\n") {
		t.Errorf("completion: %q", got)
	}
}

func TestGroupsAsJSON(t *testing.T) {
	s := groupSession(t)
	var list []client.GroupInfo
	if err := json.Unmarshal([]byte(s.must("groups", "list", "--json")), &list); err != nil || len(list) != 2 || list[1].Strategy != nil || list[0].Members != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	var d client.GroupDescription
	if err := json.Unmarshal([]byte(s.must("groups", "describe", "billing", "--json")), &d); err != nil || len(d.Members) != 2 || d.Lag != 31 || d.Partitions[0].Committed != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if got := s.must("groups", "list", "--json", "--prefix", "x"); got != "[]\n" {
		t.Errorf("an empty list is %q", got)
	}
	if got := s.must("groups", "reset", "old", "--to", "latest", "--topic", "orders", "-p", "1", "--json", "--dry-run"); got !=
		"[\n  {\n    \"topic\": \"orders\",\n    \"partition\": 1,\n    \"old_offset\": null,\n    \"new_offset\": 10\n  }\n]\n" {
		t.Errorf("a reset is %s", got)
	}
}

func TestGroupsReset(t *testing.T) {
	s := groupSession(t)
	table := func(rows ...string) string { return strings.Join(append(rows, ""), "\n") }
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"old --to earliest --dry-run", exitOK, table("TOPIC    PARTITION  OLD  NEW", "flights  0          5    0", "orders   0          7    0", "orders   2          10   0")},
		{"old --to earliest", exitOK, table("TOPIC    PARTITION  OLD  NEW", "flights  0          5    0", "orders   0          7    0", "orders   2          10   0")},
		{"old --to latest --topic orders", exitOK, table("TOPIC   PARTITION  OLD  NEW", "orders  0          0    10", "orders  1          -    10", "orders  2          0    10")},
		{"old --to 3 --topic orders -p 1", exitOK, table("TOPIC   PARTITION  OLD  NEW", "orders  1          10   3")},
		{"old --to 1970-01-01T00:00:04Z", exitOK, table("TOPIC    PARTITION  OLD  NEW", "flights  0          0    4", "orders   0          10   4", "orders   1          3    4", "orders   2          10   4")},
		{"new --to latest --topic flights --topic flights", exitOK, table("TOPIC    PARTITION  OLD  NEW", "flights  0          -    5")},
		{"new --to earliest", exitOK, table("TOPIC    PARTITION  OLD  NEW", "flights  0          5    0")},
		{"none --to earliest", exitFailure, "404 group_not_found"},
		{"billing --to earliest", exitFailure, "group billing has 2 members"},
		{"old --to 11 --topic orders -p 1", exitFailure, "topic orders, partition 1: offset 11 is outside of [0, 10]"},
		{"old --to latest --topic orders -p 3", exitFailure, "partitions 0 to 2, not 3"},
		{"old --to latest --topic none", exitFailure, "404 topic_not_found"},
		{"old", exitUsage, "--to is needed"},
		{"old --to soon", exitUsage, "--to: "},
		{"old --to 3", exitUsage, "needs --topic and --partition"},
		{"old --to 3 --topic orders", exitUsage, "needs --topic and --partition"},
		{"old --to latest -p 0", exitUsage, "needs one --topic"},
		{"old --to latest --topic a/b", exitUsage, "is not a name of a topic"},
	} {
		got := s.run(append([]string{"groups", "reset"}, strings.Fields(c.args)...)...)
		if got.status != c.status {
			t.Fatalf("%s: status %d: %s%s", c.args, got.status, got.out, got.err)
		}
		if c.status == exitOK && got.out != c.want || !strings.Contains(got.err, c.want) && c.status != exitOK {
			t.Errorf("%s:\n%s%s, want\n%s", c.args, got.out, got.err, c.want)
		}
	}
	if got := s.must("__complete", "groups", "reset", "old", "--topic", "fl"); !strings.HasPrefix(got, "flights\n:4\n") {
		t.Errorf("completion: %q", got)
	}
}
