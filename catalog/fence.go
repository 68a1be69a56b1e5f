package catalog

import "github.com/tidwall/btree"

// TokenLenMax bounds a fencing token, in bytes.
const TokenLenMax = 128

// ValidToken tells whether a fencing token, or the name of an idempotency key,
// can be given in an HTTP header as it is: 1 to TokenLenMax printable ASCII
// characters, none of them a space.
func ValidToken(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != "" && len(token) <= TokenLenMax
}

// fenceTable is the fencing tokens of those partitions that have one.
type fenceTable = btree.BTreeG[fence]

type fence struct {
	partition TopicPartition
	token     string
}

func newFenceTable() *fenceTable {
	return newTree(func(a, b fence) bool { return a.partition.compare(b.partition) < 0 })
}

// Fence returns the fencing token of a partition, "" if it has none.
func (s *State) Fence(tp TopicPartition) string {
	found, _ := s.fences.Get(fence{partition: tp})
	return found.token
}

func (s *State) setFence(e *SetFence) Result {
	current := s.Fence(e.Partition)
	switch {
	case e.Token != "" && !ValidToken(e.Token), e.Expected != "" && !ValidToken(e.Expected), e.Expected != "" && !e.Conditional:
		return Result{Err: invalid(InvalidToken)}
	case s.Partition(e.Partition) == nil:
		return Result{Err: s.missing(e.Partition)}
	case current == e.Token:
		// Whatever was expected: it may be the same edit for the second time.
		return Result{}
	case e.Conditional && e.Expected != current:
		return Result{Err: &FenceError{Token: current}}
	case e.Token == "":
		s.fences.Delete(fence{partition: e.Partition})
		return Result{}
	case current == "" && s.fences.Len() >= s.capacity.fences:
		return Result{Err: ErrCatalogFull}
	}
	s.fences.Set(fence{partition: e.Partition, token: e.Token})
	return Result{}
}

func (s *State) checkFences() error {
	if s.level < levelOfKeys && s.fences.Len() > 0 {
		return broken("fencing tokens in a catalog of level %d", s.level)
	}
	var err error
	s.fences.Scan(func(f fence) bool {
		if s.Partition(f.partition) == nil || !ValidToken(f.token) {
			err = broken("partition %s has the fencing token %q", f.partition, f.token)
		}
		return err == nil
	})
	return err
}
