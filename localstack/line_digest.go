package localstack

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// differencesMax bounds the differences that an error names.
const differencesMax = 5

// LineDigest sums up lines with keys: all of them as a multiset, and those of
// each key in their order. Its memory grows with the keys, not with the lines.
type LineDigest struct {
	Lines int64
	Bytes int64  // without line ends
	Sum   uint64 // of the FNV-1a of each line, so the same for any order
	keys  map[string]*keyDigest
}

type keyDigest struct {
	lines int64
	chain hash.Hash // SHA-256 over the lines, each with its end
}

// NewLineDigest returns the digest of no lines.
func NewLineDigest() *LineDigest { return &LineDigest{keys: map[string]*keyDigest{}} }

// Keys counts the different keys.
func (d *LineDigest) Keys() int { return len(d.keys) }

// Add takes the next line, without its end.
func (d *LineDigest) Add(key, line []byte) {
	k := d.keys[string(key)]
	if k == nil {
		k = &keyDigest{chain: sha256.New()}
		d.keys[string(key)] = k
	}
	k.lines++
	k.chain.Write(line)
	k.chain.Write([]byte{'\n'})
	h := fnv.New64a()
	h.Write(line)
	d.Lines++
	d.Bytes += int64(len(line))
	d.Sum += h.Sum64()
}

// Compare returns nil if both saw the same lines, those of each key in the same
// order, and else says what differs.
func (d *LineDigest) Compare(got *LineDigest) error {
	var wrong []error
	if d.Lines != got.Lines || d.Bytes != got.Bytes || d.Sum != got.Sum {
		wrong = append(wrong, fmt.Errorf("%d lines, %d bytes, sum %016x where %d, %d, %016x were expected",
			got.Lines, got.Bytes, got.Sum, d.Lines, d.Bytes, d.Sum))
	}
	none := &keyDigest{chain: sha256.New()}
	both := maps.Clone(d.keys)
	maps.Copy(both, got.keys)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		want, have := cmp.Or(d.keys[key], none), cmp.Or(got.keys[key], none)
		if len(wrong) > differencesMax {
			return errors.Join(append(wrong, errors.New("and more"))...)
		}
		switch {
		case want.lines != have.lines:
			wrong = append(wrong, fmt.Errorf("key %s: %d lines where %d were expected", key, have.lines, want.lines))
		case !bytes.Equal(want.chain.Sum(nil), have.chain.Sum(nil)):
			wrong = append(wrong, fmt.Errorf("key %s: other lines, or in another order", key))
		}
	}
	return errors.Join(wrong...)
}

// replayedLines checks what `wadi consume` prints in replayFormat.
type replayedLines struct {
	digest     *LineDigest
	next       map[int32]int64 // offset, by partition
	partitions map[string]int32
}

// replayFormat is the --format that replayedLines reads.
const replayFormat = `%p\t%o\t%k\t%v`

func newReplayedLines() *replayedLines {
	return &replayedLines{digest: NewLineDigest(), next: map[int32]int64{}, partitions: map[string]int32{}}
}

// add takes a line of output. Offsets must be dense from 0, and a key must stay
// in one partition.
func (r *replayedLines) add(line []byte) error {
	fields := bytes.SplitN(line, []byte{'\t'}, 4)
	if len(fields) != 4 {
		return fmt.Errorf("consumed line %q", line)
	}
	number, errPartition := strconv.ParseInt(string(fields[0]), 10, 32)
	offset, errOffset := strconv.ParseInt(string(fields[1]), 10, 64)
	if err := errors.Join(errPartition, errOffset); err != nil {
		return fmt.Errorf("consumed line %q: %w", line, err)
	}
	partition := int32(number)
	if want := r.next[partition]; offset != want {
		return fmt.Errorf("partition %d: offset %d where %d should be", partition, offset, want)
	}
	r.next[partition]++
	if before, ok := r.partitions[string(fields[2])]; !ok {
		r.partitions[string(fields[2])] = partition
	} else if before != partition {
		return fmt.Errorf("key %s is in partitions %d and %d", fields[2], before, partition)
	}
	r.digest.Add(fields[2], fields[3])
	return nil
}

// perPartition tells how many records each partition has.
func (r *replayedLines) perPartition() string {
	var text []string
	for _, p := range slices.Sorted(maps.Keys(r.next)) {
		text = append(text, fmt.Sprintf("%d:%d", p, r.next[p]))
	}
	return strings.Join(text, " ")
}
