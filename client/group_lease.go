package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// beatsPerSession is how many heartbeats there are in a session timeout.
	beatsPerSession = 3
	// beatRetries is how many times more often they are tried if one fails.
	beatRetries = 4
)

// place is a partition by its name.
type place struct {
	topic     string
	partition int32
}

func (p place) compare(q place) int {
	if c := strings.Compare(p.topic, q.topic); c != 0 {
		return c
	}
	return int(p.partition) - int(q.partition)
}

type placeSet map[place]bool

func placesOf(all []TopicPartitions) placeSet {
	set := placeSet{}
	for _, t := range all {
		for _, p := range t.Partitions {
			set[place{t.Topic, p}] = true
		}
	}
	return set
}

// without returns what is in s and not in other.
func (s placeSet) without(other placeSet) placeSet {
	rest := placeSet{}
	for p := range s {
		if !other[p] {
			rest[p] = true
		}
	}
	return rest
}

// listed returns a set in order, by topic.
func (s placeSet) listed() (all []TopicPartitions) {
	places := make([]place, 0, len(s))
	for p := range s {
		places = append(places, p)
	}
	slices.SortFunc(places, place.compare)
	for _, p := range places {
		if len(all) == 0 || all[len(all)-1].Topic != p.topic {
			all = append(all, TopicPartitions{Topic: p.topic})
		}
		last := &all[len(all)-1]
		last.Partitions = append(last.Partitions, p.partition)
	}
	return all
}

// groupLease is what a member knows of its hold on partitions: it has them until
// its session timeout has passed since it sent the last request that was answered.
// It is safe for concurrent use.
type groupLease struct {
	mu      sync.Mutex
	held    placeSet  // guarded by mu
	sent    time.Time // guarded by mu; the last request that was answered
	until   time.Time // guarded by mu
	verdict error     // guarded by mu; 409 or 410, of a heartbeat or a commit
}

// renew notes an answer to a request that was sent at a time.
func (l *groupLease) renew(sent time.Time, session time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := sent.Add(session); until.After(l.until) {
		l.sent, l.until = sent, until
	}
}

// hold notes what the member may read from now on.
func (l *groupLease) hold(held placeSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
}

// end gives everything up, and returns what it was.
func (l *groupLease) end() placeSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held
	l.held, l.sent, l.until, l.verdict = placeSet{}, time.Time{}, time.Time{}, nil
	return held
}

func (l *groupLease) holds() placeSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// owns tells whether nobody else can have a partition now.
func (l *groupLease) owns(p place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[p] && time.Now().Before(l.until)
}

// good tells whether what was fetched may be handed out.
func (l *groupLease) good() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verdict == nil && time.Now().Before(l.until)
}

func (l *groupLease) judge(verdict error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.verdict == nil || errors.Is(verdict, ErrMemberFenced) {
		l.verdict = verdict
	}
}

// takeVerdict returns what a heartbeat or commit was told.
func (l *groupLease) takeVerdict() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	verdict := l.verdict
	l.verdict = nil
	return verdict
}

// due is when the next heartbeat is.
func (l *groupLease) due(session time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent.Add(session / beatsPerSession)
}

// heartbeats are sent while records are out. Nobody is told of failures: the
// lease is not renewed, then, and what counts is its end.
type heartbeats struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stop ends them and waits for that.
func (b *heartbeats) stop() {
	if b.cancel == nil {
		return
	}
	b.cancel()
	<-b.done
	b.cancel = nil
}

// startHeartbeats sends them until they are stopped, ctx ends, or records have
// been out for too long.
func (g *GroupConsumer) startHeartbeats(ctx context.Context) {
	if g.beats.cancel != nil {
		return
	}
	ctx, g.beats.cancel = context.WithTimeout(ctx, g.cfg.ProcessTimeout)
	done := make(chan struct{})
	g.beats.done = done
	r := request{method: http.MethodPost, path: g.memberPath(":heartbeat"), key: g.key()}
	_ = r.setJSON(map[string]any{"epoch": g.epoch}) // of a number it never fails
	c, lease, session := g.client, &g.lease, g.session
	go func() {
		defer close(done)
		pause := time.Until(lease.due(session))
		for sleep(ctx, pause) {
			sent := time.Now()
			attempt, cancel := context.WithTimeout(ctx, session/beatsPerSession)
			_, err := c.attempt(attempt, r)
			cancel()
			switch {
			case err == nil:
				lease.renew(sent, session)
				pause = time.Until(lease.due(session))
			case errors.Is(err, ErrMemberFenced) || errors.Is(err, ErrRebalanceInProgress):
				lease.judge(err)
				return
			default:
				pause = max(session/beatsPerSession/beatRetries, min(retryAfterOf(err), session/beatsPerSession))
			}
		}
	}()
}
