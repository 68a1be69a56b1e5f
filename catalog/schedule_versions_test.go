package catalog_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
)

// TestScheduleTwoVersions lets a node of a newer version take the lead and write what
// this version does not know: an edit of a newer kind, an entry in a newer format,
// or a snapshot of a newer version or a higher feature level. Nodes of this version
// stop, each with an error that says so, and acknowledge nothing from then on.
func TestScheduleTwoVersions(t *testing.T) {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	newerEdit := func(e *journal.Entry) []byte {
		e.Payload = []byte{1, 250, 0, 0}
		return e.Append(nil)
	}
	newerFormat := func(e *journal.Entry) []byte {
		body := e.Append(nil)
		binary.BigEndian.PutUint16(body[4:], 2)
		end := len(body) - 4
		binary.BigEndian.PutUint32(body[end:], crc32.Checksum(body[:end], castagnoli))
		return body
	}
	for name, c := range map[string]struct {
		write func(*journal.Entry) []byte
		stops error
	}{
		"edit":  {newerEdit, catalog.ErrNewerEdit},
		"entry": {newerFormat, journal.ErrNewerFormat},
	} {
		t.Run(name, func(t *testing.T) {
			runVersions(t, func(s *schedule) {
				leader, other := s.members[0], s.members[1]
				if s.rng.IntN(2) == 0 {
					s.isolate(other) // it meets the entry in the bucket, not from the leader
				}
				if s.rng.IntN(2) == 0 {
					s.network.Freeze(leader.address)
				}
				edit, l := s.nextCommit(other), s.up(other)
				s.pending.Go(func() {
					ctx, cancel := s.patience(time.Minute)
					defer cancel()
					_, _ = l.propose(ctx, edit)
				})
				time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
				s.writeAsNewer(c.write)
				leader.wake()
				for _, m := range s.members {
					s.expectStop(m, c.stops)
				}
			})
		})
	}
	for name, c := range map[string]struct {
		at    int // of the byte that is raised
		level uint32
		stops error
	}{
		"snapshot version": {8, 1, catalog.ErrNewerSnapshot},
		"snapshot level":   {9, 99, catalog.ErrNewerLevel},
	} {
		t.Run(name, func(t *testing.T) {
			runVersions(t, func(s *schedule) {
				m := s.members[2]
				s.up(m).stop()
				s.snapshotAsNewer(c.at, c.level)
				m.start()
				s.expectStop(m, c.stops)
			})
		})
	}
}

// runVersions is runSchedule without the end, which no node lives to see.
func runVersions(t *testing.T, run func(s *schedule)) {
	simulateSeeds(t, func(t *testing.T, seed uint64) {
		s := newSchedule(t, seed)
		s.createTopic()
		for _, m := range s.members {
			m.startReady()
		}
		for _, m := range s.members {
			s.register(m)
		}
		s.leadBy(s.members[0])
		run(s)
	})
}

// head returns the newest entry of the journal.
func (s *schedule) head() journal.Entry {
	slot := s.witness.newest()
	o, err := s.witness.Get(s.tb.Context(), slotKey(slot))
	if err != nil {
		s.tb.Fatal(err)
	}
	e, err := journal.Decode(slot, o.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	return e
}

// writeAsNewer claims an epoch and writes an entry in it, as a node of a newer
// version does that is faster than everybody else. The witness does not see the
// entry: for it, anything after that is a fork.
func (s *schedule) writeAsNewer(encode func(*journal.Entry) []byte) {
	head := s.head()
	claim := journal.Entry{
		Slot: head.Slot + 1, Kind: journal.Claim, Epoch: s.witness.newestEpoch() + 1,
		Nonce: journal.NewNonce(), Prev: head.Nonce, Time: head.Time, Writer: "newer",
	}
	if _, err := s.witness.PutIfAbsent(s.tb.Context(), slotKey(claim.Slot), claim.Append(nil)); err != nil {
		s.tb.Fatal(err)
	}
	e := journal.Entry{
		Slot: claim.Slot + 1, Kind: journal.Edits, Epoch: claim.Epoch,
		Nonce: journal.NewNonce(), Prev: claim.Nonce, Time: head.Time, Writer: "newer",
	}
	if _, err := s.witness.Store.PutIfAbsent(s.tb.Context(), slotKey(e.Slot), encode(&e)); err != nil {
		s.tb.Fatal(err)
	}
}

// expectStop expects that a node stops by itself, within the time in which it
// must be live otherwise, and that nobody is told anything but that its edit is
// unknown or not committed, and that nothing can be confirmed.
func (s *schedule) expectStop(m *member, reason error) {
	m.mu.Lock()
	l := m.life
	m.mu.Unlock()
	var asking sync.WaitGroup
	asking.Go(func() {
		ctx, cancel := s.patience(recoveryMax)
		defer cancel()
		edit := s.nextCommit(m)
		if r, err := l.Propose(ctx, edit); err == nil {
			s.tb.Errorf("false acknowledgement: %s answered %+v", m.address, r)
		}
	})
	asking.Go(func() {
		ctx, cancel := s.patience(recoveryMax)
		defer cancel()
		if _, err := l.Confirm(ctx); err == nil {
			s.tb.Errorf("stale answer: %s confirmed a view", m.address)
		}
	})
	select {
	case <-l.ended:
		if !errors.Is(l.err, reason) {
			s.tb.Errorf("%s stopped: %v", m.address, l.err)
		}
	case <-time.After(recoveryMax):
		s.tb.Errorf("%s goes on", m.address)
	}
	asking.Wait()
}

// snapshotAsNewer writes a snapshot of the newest slot with one byte raised: its
// version, or its feature level, and a manifest of a feature level.
func (s *schedule) snapshotAsNewer(at int, level uint32) {
	j, err := journal.New(journal.DefaultConfig(), s.witness, "000", s.logger, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	head := s.head()
	for { // the leader may have been there
		if _, err := j.Snapshot(s.tb.Context(), head.Slot); errors.Is(err, journal.ErrNoSnapshot) {
			break
		}
		s.write(s.members[0])
		head = s.head()
	}
	state := s.witness.stateAt(head.Slot)
	encoded := encodeOf(s.tb, state)
	encoded[at] = 99
	end := len(encoded) - 4
	binary.BigEndian.PutUint32(encoded[end:], crc32.Checksum(encoded[:end], crc32.MakeTable(crc32.Castagnoli)))
	_, err = j.WriteSnapshot(s.tb.Context(), journal.SnapshotInfo{
		Slot: head.Slot, Nonce: head.Nonce, Epoch: head.Epoch, Time: state.Time(), Level: level, Claims: nil,
	}, func(yield func([]byte) error) error { return yield(encoded) })
	if err != nil {
		s.tb.Fatal(err)
	}
}
