package reader

import (
	"sync"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
)

// soleTopicsMax bounds each of the two generations of soleTopics: about 4 MiB.
const soleTopicsMax = 32 << 10

// severalTopics stands for an object that holds bytes of more than one topic.
var severalTopics = uuid.Nil

// soleTopics remembers of objects whose bytes they hold, if it is one topic's
// alone. That never changes. What was not asked for longest is forgotten first,
// roughly.
type soleTopics struct {
	mu    sync.Mutex
	young map[catalog.ObjectID]catalog.TopicID // guarded by mu
	old   map[catalog.ObjectID]catalog.TopicID // guarded by mu; all of young was noted or asked for after it
}

func newSoleTopics() *soleTopics {
	return &soleTopics{young: map[catalog.ObjectID]catalog.TopicID{}}
}

// of returns the topic of an object, or severalTopics, if that is known.
func (s *soleTopics) of(id catalog.ObjectID) (catalog.TopicID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	topic, ok := s.young[id]
	if !ok {
		if topic, ok = s.old[id]; ok {
			s.noteLocked(id, topic)
		}
	}
	return topic, ok
}

func (s *soleTopics) note(id catalog.ObjectID, topic catalog.TopicID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(id, topic)
}

func (s *soleTopics) noteLocked(id catalog.ObjectID, topic catalog.TopicID) {
	if len(s.young) >= soleTopicsMax {
		s.young, s.old = make(map[catalog.ObjectID]catalog.TopicID, soleTopicsMax), s.young
	}
	s.young[id] = topic
}
