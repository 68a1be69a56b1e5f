package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wadilog/wadi/internal/recordbatch"

	"github.com/wadilog/wadi/client"
)

func TestTopicsLifecycle(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t)}
	for _, c := range []struct {
		args   string
		status int
		want   string // all of standard output, or part of standard error
	}{
		{"topics list", exitOK, "TOPIC  PARTITIONS  ID\n"},
		{"topics create flights --partitions 3 --config retention.ms=604800000 --config compression.type=zstd", exitOK, "created topic flights with 3 partitions\n"},
		{"topics create flights --partitions 3", exitOK, "topic flights is there already, with 3 partitions\n"},
		{"topics create flights --partitions 4", exitFailure, "(409 topic_exists)"},
		{"topics create flags", exitOK, "created topic flags with 1 partitions\n"},
		{"topics create other", exitOK, "created topic other with 1 partitions\n"},
		{"topics list", exitOK, "TOPIC    PARTITIONS  ID\nflights  3           id-0\nflags    1           id-1\nother    1           id-2\n"},
		{"topics list --prefix fl", exitOK, "TOPIC    PARTITIONS  ID\nflights  3           id-0\nflags    1           id-1\n"},
		{"topics alter flights --partitions 4 --config retention.ms=-1", exitOK, "altered topic flights\n"},
		{"topics alter flights", exitUsage, "nothing to change"},
		{"topics alter flights --config retention.ms", exitUsage, "is not key=value"},
		{"topics alter flights --config a=1 --config a=2", exitUsage, "is given twice"},
		{"topics create t --partitions 0", exitUsage, "--partitions is not between"},
		{"topics describe flights", exitOK, "topic             flights\nid                id-0\npartitions        4\ncompression.type  zstd\nretention.ms      -1\n\n" +
			"PARTITION  START  END  RECORDS\n0          0      0    0\n1          0      0    0\n2          0      0    0\n3          0      0    0\nall                    0\n"},
		{"topics delete flights", exitOK, "deleted topic flights\n"},
		{"topics delete flights", exitFailure, "404 topic_not_found"},
		{"topics describe flights", exitFailure, "404 topic_not_found"},
	} {
		got := s.run(strings.Fields(c.args)...)
		if got.status != c.status {
			t.Fatalf("%s: status %d: %s", c.args, got.status, got.err)
		}
		if c.status == exitOK && got.out != c.want || !strings.Contains(got.err, c.want) && c.status != exitOK {
			t.Errorf("%s:\n%s%s, want\n%s", c.args, got.out, got.err, c.want)
		}
	}
}

func TestTopicsAsJSON(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t)}
	s.must("topics", "create", "t", "--partitions", "2", "--config", "retention.ms=5")
	s.node.put(t, "t", 1, recordbatch.None, numbered(0, 3))
	var list []client.Topic
	if err := json.Unmarshal([]byte(s.must("topics", "list", "--json")), &list); err != nil || len(list) != 1 || list[0].Name != "t" || list[0].Config["retention.ms"] != "5" {
		t.Errorf("%+v, %v", list, err)
	}
	var d topicDescription
	if err := json.Unmarshal([]byte(s.must("topics", "describe", "t", "--json")), &d); err != nil || d.Partitions != 2 || len(d.Offsets) != 2 || d.Offsets[1].End != 3 {
		t.Errorf("%+v, %v", d, err)
	}
	if got := s.must("topics", "list", "--json", "--prefix", "x"); got != "[]\n" {
		t.Errorf("an empty list is %q", got)
	}
}

func TestTopicsTrim(t *testing.T) {
	s := &session{t: t, node: newFakeNode(t)}
	s.node.topic("t", 2)
	s.node.put(t, "t", 0, recordbatch.None, numbered(0, 10))
	s.node.put(t, "t", 1, recordbatch.None, numbered(5, 10))
	for _, c := range []struct{ args, want string }{
		{"-p 1 --before 3", "partition 1 begins at offset 3\n"},
		{"--before 1970-01-01T00:00:09Z", "partition 0 begins at offset 9\npartition 1 begins at offset 4\n"},
		{"--before end", "partition 0 begins at offset 10\npartition 1 begins at offset 10\n"},
	} {
		if got := s.must(append([]string{"topics", "trim", "t"}, strings.Fields(c.args)...)...); got != c.want {
			t.Errorf("%s: %q", c.args, got)
		}
	}
	for _, args := range []string{"", "--before 3", "-p 2 --before 3", "-p 0 --before soon"} {
		if got := s.run(append([]string{"topics", "trim", "t"}, strings.Fields(args)...)...); got.status == exitOK {
			t.Errorf("%q: %s", args, got.out)
		}
	}
}
