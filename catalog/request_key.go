package catalog

import (
	"bytes"
	"crypto/sha256"

	"github.com/tidwall/btree"
)

// RequestKey makes a unit idempotent: while a request of a key is remembered,
// another of the same key gets its results and lands nowhere. The zero
// RequestKey is none.
type RequestKey struct {
	ID      [16]byte // of the key within its topic
	Request [16]byte // of what the request says
}

// NewRequestKey makes the key that a client named in a topic. A topic that is
// created again has other keys. request is a hash of all that the request says,
// as the client sent it.
func NewRequestKey(topic TopicID, key string, request [16]byte) RequestKey {
	h := sha256.New()
	h.Write(topic[:])
	h.Write([]byte(key))
	return RequestKey{ID: [16]byte(h.Sum(nil)), Request: request}
}

func (k RequestKey) isNone() bool { return k == RequestKey{} }

// LandedAppend is where an append of a remembered request landed.
type LandedAppend struct {
	Partition    int32
	Records      int32
	Base         Offset
	MaxTimestamp int64 // ms
}

// keyedRequest is a request that landed under a key. It is immutable.
type keyedRequest struct {
	request [16]byte
	time    int64 // ms of journal time, when it landed
	landed  []LandedAppend
}

func (r *keyedRequest) expired(now int64) bool { return now-r.time > RequestKeyExpiryMs }

type (
	requestByKey struct {
		id      [16]byte
		request *keyedRequest
	}
	keyByTime struct {
		time int64
		id   [16]byte
	}
)

// requestTable is the requests that landed under a key. Those of a topic that
// is deleted stay until they expire: what was said about a key goes on to hold.
type requestTable struct {
	byKey   *btree.BTreeG[requestByKey]
	byTime  *btree.BTreeG[keyByTime] // the same, the oldest first
	appends int                      // landed of all requests
}

func newRequestTable() *requestTable {
	return &requestTable{
		byKey: newTree(func(a, b requestByKey) bool { return bytes.Compare(a.id[:], b.id[:]) < 0 }),
		byTime: newTree(func(a, b keyByTime) bool {
			if a.time != b.time {
				return a.time < b.time
			}
			return bytes.Compare(a.id[:], b.id[:]) < 0
		}),
	}
}

func (t *requestTable) clone() *requestTable {
	return &requestTable{byKey: t.byKey.Copy(), byTime: t.byTime.Copy(), appends: t.appends}
}

// known returns the request that landed under a key and has not expired at now,
// nil if there is none.
func (t *requestTable) known(id [16]byte, now int64) *keyedRequest {
	found, _ := t.byKey.Get(requestByKey{id: id})
	if found.request == nil || found.request.expired(now) {
		return nil
	}
	return found.request
}

func (t *requestTable) add(id [16]byte, r *keyedRequest) {
	if old, replaced := t.byKey.Set(requestByKey{id: id, request: r}); replaced {
		t.byTime.Delete(keyByTime{time: old.request.time, id: id})
		t.appends -= len(old.request.landed)
	}
	t.byTime.Set(keyByTime{time: r.time, id: id})
	t.appends += len(r.landed)
}

// expire forgets requests that have expired at now, the oldest first, at most
// steps of them, and tells whether there are more, and how many steps are left.
func (t *requestTable) expire(now int64, steps int) (left int, more bool) {
	for {
		oldest, ok := t.byTime.Min()
		if !ok || now-oldest.time <= RequestKeyExpiryMs {
			return steps, false
		}
		if steps <= 0 {
			return 0, true
		}
		t.byTime.Delete(oldest)
		gone, _ := t.byKey.Delete(requestByKey{id: oldest.id})
		t.appends -= len(gone.request.landed)
		steps--
	}
}

// full tells that a request with so many appends is one too many.
func (t *requestTable) full(keys, appends int, c *capacity) bool {
	return t.byKey.Len()+keys >= c.requestKeys || t.appends+appends > c.requestKeyAppends
}

// makeRoomForKeys forgets what has expired if what a commit brings does not fit.
func (s *State) makeRoomForKeys(c *CommitSegment) {
	keys, appends := 0, 0
	for i := range c.Units {
		if !c.Units[i].Key.isNone() {
			keys++
			appends += len(c.Units[i].Appends)
		}
	}
	if keys > 0 && s.requests.full(keys-1, appends, &s.capacity) {
		s.requests.expire(s.time, s.capacity.expirySteps)
	}
}

// Request returns where the request of a key landed, if one is remembered. It
// is ErrKeyReused if that was another request.
func (s *State) Request(key RequestKey) (landed []LandedAppend, known bool, err error) {
	r := s.requests.known(key.ID, s.time)
	switch {
	case r == nil:
		return nil, false, nil
	case r.request != key.Request:
		return nil, true, ErrKeyReused
	}
	return r.landed, true, nil
}

func (s *State) checkRequests() error {
	t := s.requests
	if t.byKey.Len() != t.byTime.Len() {
		return broken("%d request keys, %d by time", t.byKey.Len(), t.byTime.Len())
	}
	if s.level < levelOfKeys && t.byKey.Len() > 0 {
		return broken("request keys in a catalog of level %d", s.level)
	}
	appends := 0
	var err error
	t.byKey.Scan(func(k requestByKey) bool {
		appends += len(k.request.landed)
		err = s.checkRequest(k.id, k.request)
		return err == nil
	})
	if err == nil && appends != t.appends {
		err = broken("requests with keys count %d appends, %d are there", t.appends, appends)
	}
	return err
}

func (s *State) checkRequest(id [16]byte, r *keyedRequest) error {
	if _, ok := s.requests.byTime.Get(keyByTime{time: r.time, id: id}); !ok || r.time > s.time {
		return broken("request key %x of time %d is of the future or not found by time", id, r.time)
	}
	for _, a := range r.landed {
		if a.Records < 1 || a.Partition < 0 || a.Base < 0 {
			return broken("request key %x landed %d records in partition %d at %d", id, a.Records, a.Partition, a.Base)
		}
	}
	return nil
}

// checkTouchedRequest checks what is remembered of a unit that was judged.
func (s *State) checkTouchedRequest(u *Unit) error {
	if u.Key.isNone() {
		return nil
	}
	if r := s.requests.known(u.Key.ID, s.time); r != nil {
		return s.checkRequest(u.Key.ID, r)
	}
	return nil
}
