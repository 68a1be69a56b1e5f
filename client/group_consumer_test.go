package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// groupScript answers a member's requests without a network: joins by itself, the
// rest as the test says.
type groupScript struct {
	t     *testing.T
	joins int
	polls []scriptedPoll
	asked []pollBody // as they came
	beat  func() (*http.Response, error)
	beats []time.Time
	puts  []pollBody
	left  bool
	// members are those that the group is described with.
	members []string
}

type pollBody struct {
	Epoch     int64
	Commit    []GroupOffset
	Offsets   []GroupOffset
	Positions []GroupOffset
}

// scriptedPoll answers one poll.
type scriptedPoll func(r *http.Request) (*http.Response, error)

func (s *groupScript) RoundTrip(r *http.Request) (*http.Response, error) {
	var body pollBody
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &body)
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/members"):
		s.joins++
		return reply(r, 201, mediaJSON, fmt.Sprintf(`{"member_id":"m","epoch":%d,"session_timeout_ms":30000,"assignment":[{"topic":"t","partitions":[0,1]}]}`, s.joins)), nil
	case strings.HasSuffix(path, ":heartbeat"):
		s.beats = append(s.beats, time.Now())
		if s.beat != nil {
			return s.beat()
		}
		return reply(r, 200, mediaJSON, `{}`), nil
	case strings.HasSuffix(path, "/offsets"):
		s.puts = append(s.puts, body)
		return reply(r, 204, mediaJSON, ``), nil
	case strings.HasSuffix(path, ":poll"):
		s.asked = append(s.asked, body)
		if len(s.polls) == 0 {
			s.t.Error("a poll too many")
			return refuse(r, 400, ErrInvalidJSON, noEffect), nil
		}
		next := s.polls[0]
		s.polls = s.polls[1:]
		return next(r)
	case r.Method == http.MethodDelete:
		s.left = true
		return reply(r, 204, mediaJSON, ``), nil
	default:
		var members []GroupMember
		for _, id := range s.members {
			members = append(members, GroupMember{ID: id})
		}
		return replyJSON(r, 200, GroupDescription{Members: members}), nil
	}
}

// gives answers with records of partitions 0 and on, each with their bounds.
func gives(epoch int64, bounds ...[2]int64) scriptedPoll {
	return func(r *http.Request) (*http.Response, error) {
		var parts []any
		for p, b := range bounds {
			records := []any{}
			for o := b[0]; o < b[1]; o++ {
				records = append(records, map[string]any{"offset": o, "timestamp": 0, "key": nil, "value": fmt.Sprint(o), "headers": []any{}})
			}
			parts = append(parts, map[string]any{"topic": "t", "partition": p, "records": records, "next_offset": b[1]})
		}
		return replyJSON(r, 200, map[string]any{"epoch": epoch, "partitions": parts}), nil
	}
}

func refuses(status int, code Code, more string) scriptedPoll {
	return func(r *http.Request) (*http.Response, error) { return refuse(r, status, code, more), nil }
}

func moved(epoch int, more string) scriptedPoll {
	return refuses(409, ErrRebalanceInProgress, fmt.Sprintf(`,"retryable":true,"epoch":%d,"assignment":[{"topic":"t","partitions":[0]}]%s`, epoch, more))
}

func loses(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

// inGroup runs a test of a consumer with virtual time.
func inGroup(t *testing.T, cfg GroupConfig, polls []scriptedPoll, f func(t *testing.T, s *groupScript, g *GroupConsumer)) {
	synctest.Test(t, func(t *testing.T) {
		s := &groupScript{t: t, polls: polls}
		c, err := New(Config{Servers: []string{"http://one"}, HTTPClient: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Group, cfg.Topics = "g", []string{"t"}
		g, err := c.ConsumeGroup(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(t, s, g)
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(s.polls) > 0 {
			t.Errorf("%d polls were not made", len(s.polls))
		}
	})
}

func polled(t *testing.T, g *GroupConsumer) (places []string) {
	t.Helper()
	records, err := g.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		places = append(places, fmt.Sprintf("%d/%d", r.Partition, r.Offset))
	}
	return places
}

func offsets(pairs ...int64) (all []GroupOffset) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, GroupOffset{"t", int32(pairs[i]), pairs[i+1]})
	}
	return all
}

func wantPoll(t *testing.T, got pollBody, epoch int64, commit, positions []GroupOffset) {
	t.Helper()
	if got.Epoch != epoch || !slices.Equal(got.Commit, commit) || !slices.Equal(got.Positions, positions) {
		t.Errorf("poll %+v, want epoch %d, commit %v, positions %v", got, epoch, commit, positions)
	}
}

// TestGroupRebalanceBetweenRecords: what is out is committed with the
// acknowledgement, and no record of the partition that is let go comes after.
func TestGroupRebalanceBetweenRecords(t *testing.T) {
	var told []string
	cfg := GroupConfig{
		OnAssigned: func(p []TopicPartitions) { told = append(told, fmt.Sprint("+", p)) },
		OnRevoked:  func(p []TopicPartitions, lost bool) { told = append(told, fmt.Sprint("-", p, lost)) },
	}
	polls := []scriptedPoll{gives(1, [2]int64{0, 2}, [2]int64{0, 3}), loses, moved(5, ""), gives(6, [2]int64{1, 2})}
	inGroup(t, cfg, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		s.beat = func() (*http.Response, error) { return moved(5, "")(nil) }
		// The acknowledgement of epoch 5 is lost, and by then there is epoch 6.
		s.polls[2] = moved(6, "")
		seen := ""
		for r, err := range g.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen += fmt.Sprintf(" %d/%d", r.Partition, r.Offset)
			if seen == " 0/0 0/1 1/0" {
				time.Sleep(11 * time.Second) // a heartbeat is told
				synctest.Wait()
				if !g.Owns("t", 1) {
					t.Error("the partition is not the member's before it lets go")
				}
			}
			if len(s.polls) == 0 {
				break
			}
		}
		if seen != " 0/0 0/1 1/0 0/1" {
			t.Errorf("handed out%s", seen)
		}
		wantPoll(t, s.asked[0], 1, nil, nil)
		wantPoll(t, s.asked[1], 5, offsets(0, 2, 1, 1), offsets(0, 2))
		wantPoll(t, s.asked[2], 5, offsets(0, 2, 1, 1), nil)
		wantPoll(t, s.asked[3], 6, offsets(0, 2, 1, 1), offsets(0, 2))
		if want := "[+[{t [0 1]}] -[{t [1]}] false]"; fmt.Sprint(told) != want {
			t.Errorf("told %v, want %v", told, want)
		}
		if g.Owns("t", 1) || !g.Owns("t", 0) {
			t.Error("what was let go is the member's still")
		}
	})
}

// TestGroupLeaseEnds: without answers to heartbeats nothing is handed out once the
// session timeout has passed since the last answered request was sent.
func TestGroupLeaseEnds(t *testing.T) {
	polls := []scriptedPoll{gives(1, [2]int64{0, 5}), gives(1, [2]int64{1, 5})}
	inGroup(t, GroupConfig{}, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		s.beat = func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }
		asked := 0
		for r, err := range g.Records(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Offset == 0 {
				time.Sleep(30*time.Second - time.Nanosecond)
				if !g.Owns("t", 0) {
					t.Error("the lease ended early")
				}
				time.Sleep(time.Nanosecond)
				if g.Owns("t", 0) {
					t.Error("the lease goes on")
				}
				continue
			}
			if asked = len(s.asked); asked != 2 {
				t.Errorf("offset %d was handed out after %d polls", r.Offset, asked)
			}
			break
		}
		wantPoll(t, s.asked[1], 1, offsets(0, 1), offsets(0, 1))
		synctest.Wait()
		if len(s.beats) < 8 || s.beats[0].Sub(s.beats[1]) < -3*time.Second {
			t.Errorf("%d heartbeats", len(s.beats))
		}
	})
}

// TestGroupHeartbeats go on for as long as records may be out.
func TestGroupHeartbeats(t *testing.T) {
	polls := []scriptedPoll{gives(1, [2]int64{0, 5}), refuses(410, ErrMemberFenced, noEffect), gives(2, [2]int64{0, 5})}
	inGroup(t, GroupConfig{ProcessTimeout: 2 * time.Minute}, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		polled(t, g)
		time.Sleep(149 * time.Second)
		synctest.Wait()
		if len(s.beats) != 12 && len(s.beats) != 11 || g.Owns("t", 0) != (len(s.beats) == 12) {
			t.Errorf("%d heartbeats, owns %v", len(s.beats), g.Owns("t", 0))
		}
		// It was silent for too long, joins again, and begins where the group is.
		if got := polled(t, g); len(got) != 5 || s.joins != 2 {
			t.Errorf("%v after %d joins", got, s.joins)
		}
		wantPoll(t, s.asked[1], 1, offsets(0, 5), offsets(0, 5))
		wantPoll(t, s.asked[2], 2, nil, nil)
		if s.left {
			t.Error("it left")
		}
	})
}

// TestGroupCommitWithoutAnswer: a commit of unknown outcome is repeated, and one that
// was carried out by a poll that failed is not.
func TestGroupCommitWithoutAnswer(t *testing.T) {
	polls := []scriptedPoll{
		gives(1, [2]int64{0, 2}), refuses(504, ErrOutcomeUnknown, `,"retryable":true`), loses, gives(1, [2]int64{2, 3}),
		moved(4, `,"committed":true`), gives(4, [2]int64{3, 4}),
	}
	inGroup(t, GroupConfig{CommitInterval: -1}, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		for _, want := range []string{"[0/0 0/1]", "[0/2]", "[0/3]"} {
			if got := fmt.Sprint(polled(t, g)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		for i := 1; i <= 3; i++ {
			wantPoll(t, s.asked[i], 1, offsets(0, 2), offsets(0, 2))
		}
		wantPoll(t, s.asked[5], 4, nil, offsets(0, 3))
		if err := g.Commit(t.Context()); err != nil || len(s.puts) != 1 || !slices.Equal(s.puts[0].Offsets, offsets(0, 4)) {
			t.Errorf("%v, %+v", err, s.puts)
		}
	})
}

// TestGroupFixedMemberID: if the id is a member that is another's, the consumer ends,
// and if it is none, it joins again.
func TestGroupFixedMemberID(t *testing.T) {
	fenced := refuses(410, ErrMemberFenced, noEffect)
	polls := []scriptedPoll{gives(1, [2]int64{0, 1}), fenced, gives(2, [2]int64{0, 1}), fenced}
	inGroup(t, GroupConfig{MemberID: "job"}, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		polled(t, g)
		s.members = []string{"other"}
		polled(t, g)
		s.members = []string{"other", "job"}
		var taken *MemberTakenError
		if _, err := g.Poll(t.Context()); !errors.As(err, &taken) || s.joins != 2 {
			t.Errorf("%v after %d joins", err, s.joins)
		}
	})
}

// TestGroupLatestKeepsItsPlace: the end at which a partition begins is committed.
func TestGroupLatestKeepsItsPlace(t *testing.T) {
	polls := []scriptedPoll{gives(1, [2]int64{7, 7}), gives(1, [2]int64{7, 8})}
	inGroup(t, GroupConfig{Start: Latest()}, polls, func(t *testing.T, s *groupScript, g *GroupConsumer) {
		polled(t, g)
		polled(t, g)
		wantPoll(t, s.asked[1], 1, offsets(0, 7), offsets(0, 7))
	})
}

// TestGroupAnswersAreChecked: a record is never left out silently.
func TestGroupAnswersAreChecked(t *testing.T) {
	polls := []scriptedPoll{gives(1, [2]int64{0, 2}), gives(1, [2]int64{3, 4}), gives(2, [2]int64{2, 4})}
	inGroup(t, GroupConfig{}, polls, func(t *testing.T, _ *groupScript, g *GroupConsumer) {
		polled(t, g)
		for range 2 {
			if records, err := g.Poll(t.Context()); err == nil {
				t.Errorf("%d records of another place, or epoch", len(records))
			}
		}
	})
}
