package catalog

import (
	"errors"
	"fmt"

	"github.com/wadilog/wadi/catalog/journal"
)

// The feature levels. A level is a set of edits and results: what a replica
// must know to follow a journal. A journal begins at the first and is raised by
// RaiseLevel, never lowered, so that a version that does not know a level stops
// before it meets what it cannot carry out.
const (
	firstLevel uint32 = 1
	// FeatureLevel is the newest level that this code knows.
	FeatureLevel uint32 = 4

	// levelOfKeys brought idempotency keys, fencing tokens and RaiseEpoch.
	levelOfKeys uint32 = 2
	// levelOfGroups brought consumer groups.
	levelOfGroups uint32 = 3
	// levelOfRetention brought Retain, DropGarbage and RaiseOrphanFloor.
	levelOfRetention uint32 = 3
	// levelOfCompaction brought ClaimCompaction and Compact.
	levelOfCompaction uint32 = 4
)

// ErrNewerLevel is a catalog at a feature level that this code does not know; a
// *NewerLevelError says which.
var ErrNewerLevel = errors.New("the catalog's feature level is newer than this version")

// NewerLevelError is a catalog at a feature level that this code does not know.
// A replica that meets it stops, and nothing mends it but a newer version.
type NewerLevelError struct {
	Level uint32 // of the catalog
	Known uint32 // newest that this code knows
}

func (e *NewerLevelError) Error() string {
	return fmt.Sprintf("the catalog is at feature level %d and this version knows none above %d: a newer version is needed", e.Level, e.Known)
}

// Is makes errors.Is(err, ErrNewerLevel) true.
func (e *NewerLevelError) Is(target error) bool { return target == ErrNewerLevel }

// ErrFeatureLevel refuses an edit for which the catalog's feature level is too
// low; a *FeatureLevelError says which it needs. Nothing of it is in the journal.
var ErrFeatureLevel = errors.New("the catalog's feature level is too low")

// FeatureLevelError is ErrFeatureLevel with the levels.
type FeatureLevelError struct {
	Needed uint32
	Level  uint32 // of the catalog
}

func (e *FeatureLevelError) Error() string {
	return fmt.Sprintf("feature level %d is needed, the catalog is at %d", e.Needed, e.Level)
}

// Is makes errors.Is(err, ErrFeatureLevel) true.
func (e *FeatureLevelError) Is(target error) bool { return target == ErrFeatureLevel }

// levelOf is the lowest feature level at which an edit may be in the journal.
func levelOf(e Edit) uint32 {
	switch e := e.(type) {
	case RaiseEpoch, SetFence:
		return levelOfKeys
	case JoinGroup, SyncMember, KeepMember, RemoveMember, CommitOffsets, DeleteGroup:
		return levelOfGroups
	case Retain, DropGarbage, RaiseOrphanFloor:
		return levelOfRetention
	case ClaimCompaction, Compact:
		return levelOfCompaction
	case CommitSegment:
		if e.needsKeys() {
			return levelOfKeys
		}
	}
	return firstLevel
}

// needsKeys tells whether a commit has an idempotency key or a fencing token.
func (e *CommitSegment) needsKeys() bool {
	for i := range e.Units {
		if !e.Units[i].Key.isNone() {
			return true
		}
		for j := range e.Units[i].Appends {
			if e.Units[i].Appends[j].Token != "" {
				return true
			}
		}
	}
	return false
}

// KeysAllowed returns a *FeatureLevelError if commits with idempotency keys or
// fencing tokens would be refused.
func (s *State) KeysAllowed() error {
	if s.level < levelOfKeys {
		return &FeatureLevelError{Needed: levelOfKeys, Level: s.level}
	}
	return nil
}

// GroupsAllowed returns a *FeatureLevelError if edits of consumer groups would
// be refused.
func (s *State) GroupsAllowed() error {
	if s.level < levelOfGroups {
		return &FeatureLevelError{Needed: levelOfGroups, Level: s.level}
	}
	return nil
}

// RetentionAllowed returns a *FeatureLevelError if the edits of retention and
// garbage would be refused.
func (s *State) RetentionAllowed() error {
	if s.level < levelOfRetention {
		return &FeatureLevelError{Needed: levelOfRetention, Level: s.level}
	}
	return nil
}

// CompactionAllowed returns a *FeatureLevelError if the edits of compaction would
// be refused.
func (s *State) CompactionAllowed() error {
	if s.level < levelOfCompaction {
		return &FeatureLevelError{Needed: levelOfCompaction, Level: s.level}
	}
	return nil
}

func (s *State) raiseLevel(e *RaiseLevel) Result {
	s.level = max(s.level, e.Level)
	return Result{}
}

// checkLevel tells whether a replica may apply an edit of slot.
func (r *replica) checkLevel(e Edit, slot journal.Slot) error {
	if raise, ok := e.(RaiseLevel); ok && raise.Level > r.known {
		return fmt.Errorf("slot %d: %w", slot, &NewerLevelError{Level: raise.Level, Known: r.known})
	}
	if needed := levelOf(e); needed > r.state.level {
		return &DivergedError{Slot: slot, Reason: fmt.Sprintf("an edit of feature level %d while the catalog is at %d", needed, r.state.level)}
	}
	return nil
}

// proposeLevel puts the edit that raises the catalog's level to that of the
// configuration before all others, if it is lower. A node does so when it has
// taken the lead, and before anything that needs the level.
func (c *Catalog) proposeLevel() {
	if c.replica.state.Level() < c.cfg.FeatureLevel {
		c.giveBackProposals([]*Proposal{newProposal(RaiseLevel{Level: c.cfg.FeatureLevel})}, false)
	}
}

// refuseByLevel answers the proposals that may not be written at the catalog's
// level, or raise it above what this code knows, and returns the others.
func (c *Catalog) refuseByLevel(proposals []*Proposal) []*Proposal {
	level := c.replica.state.Level()
	admitted := proposals[:0:0]
	for _, p := range proposals {
		needed := levelOf(p.edit)
		raise, raises := p.edit.(RaiseLevel)
		switch {
		case needed > level:
			p.resolve(Result{Err: &FeatureLevelError{Needed: needed, Level: level}}, nil)
			continue
		case raises && raise.Level > c.known:
			// From a node of a newer version, which led before.
			p.resolve(Result{Err: &FeatureLevelError{Needed: raise.Level, Level: level}}, nil)
			continue
		case raises:
			level = max(level, raise.Level)
		}
		admitted = append(admitted, p)
	}
	return admitted
}
