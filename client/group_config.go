package client

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Defaults and bounds of GroupConfig.
const (
	defaultSessionTimeout = 30 * time.Second
	sessionTimeoutMin     = 3 * time.Second
	sessionTimeoutMax     = 30 * time.Minute
	defaultProcessTimeout = 5 * time.Minute
	defaultCommitInterval = time.Second
)

// Strategies of groups.
const (
	CooperativeSticky = "cooperative-sticky"
	RangeStrategy     = "range"
)

// GroupConfig says how to be a member of a consumer group. Group and Topics are
// needed.
type GroupConfig struct {
	Group  string
	Topics []string

	// MemberID is a name that is this process's own. Whoever joins under it
	// takes the member's place and its partitions, so that a restart causes no
	// rebalance; for that, Close does not leave the group. By default the id is a
	// random one.
	MemberID string
	// ClientID is shown to whoever looks at the group.
	ClientID string
	// Strategy is CooperativeSticky or RangeStrategy; by default what the group has.
	Strategy string

	// SessionTimeout is how long nothing need be heard of the member before
	// others get its partitions; 30 s by default, from 3 s to 30 min.
	SessionTimeout time.Duration
	// ProcessTimeout is how long records may be worked on, from one request for
	// records to the next, before heartbeats end and the member is given up; 5 min by
	// default.
	ProcessTimeout time.Duration

	// Start is where to begin in a partition in which the group has committed
	// nothing: Earliest, the default, or Latest.
	Start Position
	// MaxBytes is how much one request asks for, of all partitions together, as
	// they are stored; 1 MiB by default, at most 64 MiB. No more than one answer is
	// in memory.
	MaxBytes int64
	// Wait is how long a request waits for records to come; a third of
	// SessionTimeout by default and 20 s at most, and never more than half of it.
	Wait time.Duration

	// CommitInterval is the least time between commits of what was processed,
	// apart from those that a rebalance or Close asks for; 1 s by default, and below
	// 0 each request commits.
	CommitInterval time.Duration
	// ManualCommit leaves all commits to Commit.
	ManualCommit bool

	// OnAssigned is told of partitions that the member gets, OnRevoked of those
	// that it lets go; lost if others may have had them already. Both may be nil and
	// are called by Poll, a loop over Records, or Close, between two records. What was
	// processed in a partition can still be committed in OnRevoked unless it is lost.
	OnAssigned func(partitions []TopicPartitions)
	OnRevoked  func(partitions []TopicPartitions, lost bool)
}

// Validate tells what is wrong with a GroupConfig.
func (cfg GroupConfig) Validate() error {
	if err := checkGroup(cfg.Group); err != nil {
		return err
	}
	if len(cfg.Topics) == 0 {
		return errors.New("no Topics")
	}
	for i, topic := range cfg.Topics {
		if err := checkTopic(topic); err != nil {
			return err
		}
		if slices.Contains(cfg.Topics[:i], topic) {
			return fmt.Errorf("topic %s is there twice", topic)
		}
	}
	cfg = cfg.withDefaults()
	switch {
	case cfg.MemberID == "." || cfg.MemberID == "..":
		return fmt.Errorf("%q is not a MemberID", cfg.MemberID)
	case cfg.Strategy != "" && cfg.Strategy != CooperativeSticky && cfg.Strategy != RangeStrategy:
		return fmt.Errorf("strategy %q is neither %s nor %s", cfg.Strategy, CooperativeSticky, RangeStrategy)
	case cfg.SessionTimeout < sessionTimeoutMin || cfg.SessionTimeout > sessionTimeoutMax:
		return errors.New("SessionTimeout is not between 3 s and 30 min")
	case cfg.ProcessTimeout < 0:
		return errors.New("ProcessTimeout is below 0")
	case cfg.Start.kind != positionEarliest && cfg.Start.kind != positionLatest:
		return errors.New("a group starts at Earliest or Latest")
	case cfg.MaxBytes < 1 || cfg.MaxBytes > FetchBytesMax:
		return errors.New("MaxBytes is not between 1 and 64 MiB")
	case cfg.Wait < 0 || cfg.Wait > fetchWaitMax || cfg.Wait > cfg.SessionTimeout/2:
		return errors.New("time to Wait is not between 0 and 30 s, and half of SessionTimeout")
	}
	return nil
}

func (cfg GroupConfig) withDefaults() GroupConfig {
	if cfg.Start.kind == positionNone {
		cfg.Start = Earliest()
	}
	cfg.SessionTimeout = orDefault(cfg.SessionTimeout, defaultSessionTimeout)
	cfg.ProcessTimeout = orDefault(cfg.ProcessTimeout, defaultProcessTimeout)
	cfg.MaxBytes = orDefault(cfg.MaxBytes, defaultFetchBytes)
	cfg.Wait = orDefault(cfg.Wait, min(cfg.SessionTimeout/beatsPerSession, defaultReaderWait))
	cfg.CommitInterval = orDefault(cfg.CommitInterval, defaultCommitInterval)
	return cfg
}
