package client

import (
	"cmp"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

// How long a server is passed over that could not be reached, or that did not
// say when to come back.
const (
	restUnreachable = 2 * time.Second
	restUnwilling   = time.Second
	restMax         = 10 * time.Second
)

// serverSet chooses servers. It is safe for concurrent use.
type serverSet struct {
	all   []*server
	seed  maphash.Seed
	turn  atomic.Uint32
	began time.Time
}

type server struct {
	base  *url.URL
	rests atomic.Int64 // until, in ns since serverSet.began
}

func newServerSet(bases []*url.URL) *serverSet {
	s := &serverSet{seed: maphash.MakeSeed(), began: time.Now()}
	s.turn.Store(rand.Uint32())
	for _, base := range bases {
		s.all = append(s.all, &server{base: base})
	}
	return s
}

// candidates returns all servers, the one to ask first at the beginning: the
// same for each key as long as it does not rest, and in turns without a key.
func (s *serverSet) candidates(key string) []*server {
	if len(s.all) == 1 {
		return s.all
	}
	first := 0
	if key != "" {
		first = int(maphash.String(s.seed, key) % uint64(len(s.all)))
	} else {
		first = int(s.turn.Add(1) % uint32(len(s.all)))
	}
	order := slices.Concat(s.all[first:], s.all[:first])
	now := int64(time.Since(s.began))
	slices.SortStableFunc(order, func(a, b *server) int {
		return cmp.Compare(max(0, a.rests.Load()-now), max(0, b.rests.Load()-now))
	})
	return order
}

// rest has a server passed over if an error says that another may do better,
// and tells whether it says so.
func (s *serverSet) rest(one *server, err error) bool {
	pause := time.Duration(0)
	var unreachable *ConnectionError
	var answer *Error
	switch {
	case errors.As(err, &unreachable) && !unreachable.Sent:
		pause = restUnreachable
	case errors.As(err, &answer) && answer.Status == http.StatusServiceUnavailable && answer.NoSideEffects && answer.Retryable:
		pause = min(max(answer.RetryAfter, restUnwilling), restMax)
	default:
		return false
	}
	one.rests.Store(int64(time.Since(s.began) + pause))
	return true
}
