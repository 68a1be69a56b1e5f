package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
)

const (
	// probeRounds and probeWriters bound the race for slots. A store that checks
	// first and writes then lets two writers win only when they come close.
	probeRounds  = 10
	probeWriters = 16
	// probeBodyBytes is large enough that bodies of a race overlap in the store.
	probeBodyBytes = 16 << 10
	// probeConflictsMax bounds how often one writer is sent away with a 409.
	probeConflictsMax = 20
	// probeCleanupTimeout bounds the removal of what the probe wrote.
	probeCleanupTimeout = 10 * time.Second
	probePrefix         = "probe/"
)

// ProbeError says in which way a store breaks the contract of Bucket. Wadi would
// lose data on it.
type ProbeError struct {
	Check string // what was looked at
	Found string // what the store did
}

func (e *ProbeError) Error() string {
	return fmt.Sprintf("this object store cannot be used: %s: %s", e.Check, e.Found)
}

// ChecksumProber is a Bucket that can send a body which changes on its way, so
// as to see whether the store notices. It returns ErrUnsupported if not.
type ChecksumProber interface {
	ProbeChecksum(ctx context.Context, key string) error
}

// Probe checks on a real store what Wadi's promises rest on: put-if-absent has one
// winner among concurrent writers and leaves what is there; LIST shows at once
// what was put and what was deleted; a changed body is refused. A store that
// fails gets a *ProbeError; any other error means that it could not be asked. It
// takes about 250 requests, below a prefix of its own, and removes what it wrote.
func Probe(ctx context.Context, b Bucket) (err error) {
	p := &probe{bucket: b, prefix: probePrefix + ulid.Make().String() + "/"}
	defer func() { err = errors.Join(err, p.cleanUp(ctx, err)) }()
	for _, check := range []func(context.Context) error{p.races, p.takenSlot, p.listing, p.checksum} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

type probe struct {
	bucket Bucket
	prefix string
	keys   []string // that were written
}

func (p *probe) key(name string, n int) string {
	key := fmt.Sprintf("%s%s-%03d", p.prefix, name, n)
	p.keys = append(p.keys, key)
	return key
}

// cleanUp removes what the probe wrote, also after its context ended. Of a probe
// that failed, the failure alone matters.
func (p *probe) cleanUp(ctx context.Context, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanupTimeout)
	defer cancel()
	for _, key := range p.keys {
		if _, err := p.bucket.Delete(ctx, key); err != nil {
			if failure != nil {
				return nil
			}
			return fmt.Errorf("probe: remove %s: %w", key, err)
		}
	}
	return nil
}

const checkRace = "put-if-absent must have one winner among concurrent writers"

// races lets writers race for slots.
func (p *probe) races(ctx context.Context) error {
	for round := range probeRounds {
		if err := p.race(ctx, p.key("race", round)); err != nil {
			return err
		}
	}
	return nil
}

func (p *probe) race(ctx context.Context, key string) error {
	var won [probeWriters]bool
	start := make(chan struct{})
	group, racing := errgroup.WithContext(ctx)
	for writer := range probeWriters {
		group.Go(func() error {
			<-start
			var err error
			won[writer], err = p.claim(racing, key, probeBody(writer))
			return err
		})
	}
	close(start)
	if err := group.Wait(); err != nil {
		return err
	}
	var winners []int
	for writer := range won {
		if won[writer] {
			winners = append(winners, writer)
		}
	}
	if len(winners) != 1 {
		return &ProbeError{checkRace, fmt.Sprintf("%d of %d writers of one key were told that they had won", len(winners), probeWriters)}
	}
	return p.wantBody(ctx, checkRace, key, probeBody(winners[0]))
}

// claim puts a body unless the key is taken, and tells whether it did.
func (p *probe) claim(ctx context.Context, key string, body []byte) (bool, error) {
	for range probeConflictsMax {
		_, err := p.bucket.PutIfAbsent(ctx, key, body)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, ErrExists):
			return false, nil
		case errors.Is(err, ErrUnsupported):
			return false, &ProbeError{checkRace, "it does not know conditional writes: " + err.Error()}
		case !errors.Is(err, ErrConflict):
			return false, fmt.Errorf("probe: %w", err)
		}
	}
	return false, &ProbeError{checkRace, fmt.Sprintf("a writer was answered %d times that there is a conflict", probeConflictsMax)}
}

func probeBody(writer int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "writer %d ", writer), probeBodyBytes/10)
}

func (p *probe) wantBody(ctx context.Context, check, key string, want []byte) error {
	o, err := p.bucket.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return &ProbeError{check, "what was just written cannot be read"}
	case err != nil:
		return fmt.Errorf("probe: %w", err)
	case !bytes.Equal(o.Body, want):
		return &ProbeError{check, fmt.Sprintf("%d bytes were written, and %d others are there", len(want), len(o.Body))}
	}
	return nil
}

// takenSlot writes to a slot again.
func (p *probe) takenSlot(ctx context.Context) error {
	const check = "put-if-absent must leave an object that exists"
	key := p.key("taken", 0)
	if _, err := p.claim(ctx, key, []byte("first")); err != nil {
		return err
	}
	for range 2 {
		won, err := p.claim(ctx, key, []byte("second"))
		if err != nil {
			return err
		}
		if won {
			return &ProbeError{check, "a second write of one key was told that it had won"}
		}
		if err := p.wantBody(ctx, check, key, []byte("first")); err != nil {
			return err
		}
	}
	return nil
}

// listing looks at LIST after each put and each delete.
func (p *probe) listing(ctx context.Context) error {
	const check = "LIST must show at once what was put and what was deleted"
	const objects = 5
	var keys []string
	for i := range objects {
		keys = append(keys, p.key("listed", i))
		if _, err := p.bucket.PutIfAbsent(ctx, keys[i], nil); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		if err := p.wantListed(ctx, check+" (after a put)", "", keys); err != nil {
			return err
		}
	}
	if err := p.wantListed(ctx, "LIST must begin after the key that was named", keys[1], keys[2:]); err != nil {
		return err
	}
	for ; len(keys) > 0; keys = keys[1:] {
		if _, err := p.bucket.Delete(ctx, keys[0]); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		if err := p.wantListed(ctx, check+" (after a delete)", "", keys[1:]); err != nil {
			return err
		}
	}
	return nil
}

func (p *probe) wantListed(ctx context.Context, check, after string, want []string) error {
	page, err := p.bucket.List(ctx, p.prefix+"listed-", after, 0)
	if errors.Is(err, ErrUnsupported) {
		return &ProbeError{check, err.Error()}
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	wrong := len(page.Objects) != len(want)
	for i := 0; !wrong && i < len(want); i++ {
		wrong = page.Objects[i].Key != want[i]
	}
	if wrong {
		return &ProbeError{check, fmt.Sprintf("it shows %d keys, %d are there", len(page.Objects), len(want))}
	}
	return nil
}

func (p *probe) checksum(ctx context.Context) error {
	prober, ok := p.bucket.(ChecksumProber)
	if !ok {
		return nil
	}
	err := prober.ProbeChecksum(ctx, p.key("checksum", 0))
	if errors.Is(err, ErrUnsupported) {
		return &ProbeError{"a body that changed on the way must be refused", err.Error()}
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
