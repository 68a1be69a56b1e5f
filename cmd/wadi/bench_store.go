package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/stores"
)

// The values of --op, in the order in which they run.
const (
	opPut         = "put"
	opPutIfAbsent = "put-if-absent"
	opGet         = "get"
)

// benchObjectsMax bounds the objects that a run leaves until its end; beyond
// it plain PUTs begin to replace the first ones.
const benchObjectsMax = 10_000

// benchGetBytes is about how much data GETs read over and over if no PUTs
// went before them.
const benchGetBytes = 256 << 20

// benchCleanTimeout bounds the removal of the objects at the end.
const benchCleanTimeout = 2 * time.Minute

// benchStoreFlags are those of wadi bench store.
type benchStoreFlags struct {
	benchFlags
	store string
	ops   []string
	size  int64
}

// storeOpener opens the store of a URL.
type storeOpener func(ctx context.Context, url string) (objstore.Bucket, func() error, error)

func openStore(ctx context.Context, url string) (objstore.Bucket, func() error, error) {
	return stores.Open(ctx, url, stores.DefaultOptions())
}

func newBenchStoreCommand(env *environment, open storeOpener) *cobra.Command {
	var f benchStoreFlags
	cmd := &cobra.Command{
		Use:   "store --store URL",
		Short: "Measure an object store without a node",
		Long: `Measure PUT, conditional PUT and GET of whole objects of one size, each for
--duration: the yardstick for what a node makes of the same store. Objects lie
under bench/ below the store's prefix and are deleted in the end. --json prints
an object for each operation.`,
		Example: `  wadi bench store --store 's3://wadi?endpoint=http://127.0.0.1:9000' --size 8MiB --connections 4
  wadi bench store --store file:///var/lib/wadi --size 2KiB --op put-if-absent --connections 1 --json`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), env, open)
		},
	}
	f.define(cmd, 4)
	flags := cmd.Flags()
	flags.StringVar(&f.store, "store", "", "`URL` of the object store")
	f.ops = []string{opPut, opPutIfAbsent, opGet}
	flags.Var(&words{value: &f.ops, known: slices.Clone(f.ops)}, "op", "what to measure, of put, put-if-absent and get")
	bytesFlag(flags, &f.size, "size", 8<<20, "of one object")
	return cmd
}

// storeLoad is what the operations on a store share. It is safe for
// concurrent use.
type storeLoad struct {
	bucket objstore.Bucket
	prefix string
	size   int64
	puts   atomic.Int64 // so many were begun
	slots  atomic.Int64
	gets   atomic.Int64
	filled atomic.Int64
}

func (s *storeLoad) putKey(n int64) string {
	return fmt.Sprintf("%sput/%06d", s.prefix, n%benchObjectsMax)
}
func (s *storeLoad) slotKey(n int64) string { return fmt.Sprintf("%sslot/%020d", s.prefix, n) }
func (s *storeLoad) getKey(n int64) string  { return fmt.Sprintf("%sget/%06d", s.prefix, n) }

func (f *benchStoreFlags) run(ctx context.Context, env *environment, open storeOpener) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	switch {
	case f.store == "":
		return usagef("--store is needed")
	case f.size < 1 || f.size > 1<<30:
		return usagef("--size is not between 1 and 1GiB")
	}
	bucket, closeBucket, err := open(ctx, f.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBucket()) }()
	s := &storeLoad{bucket: bucket, size: f.size, prefix: "bench/" + ulid.Make().String() + "/"}
	defer func() { err = errors.Join(err, s.clean(context.WithoutCancel(ctx), f.connections)) }()
	for _, op := range []string{opPut, opPutIfAbsent, opGet} {
		if !slices.Contains(f.ops, op) {
			continue
		}
		if err := f.measure(ctx, env, s, op); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return nil
}

func (f *benchStoreFlags) measure(ctx context.Context, env *environment, s *storeLoad, op string) error {
	if op == opGet {
		if err := s.fill(ctx, f.connections); err != nil {
			return err
		}
	}
	title := fmt.Sprintf("%s: %s objects, %d in flight", op, humanize.IBytes(uint64(f.size)), f.connections)
	settings := map[string]any{"op": op, "object_bytes": f.size}
	l := newLoad(loadSettings{workers: f.connections, rate: f.rate, duration: f.duration})
	return f.benchFlags.run(ctx, env, "store", title, settings, l, func(n int) func(context.Context) (loadStep, error) {
		var body []byte
		if op != opGet {
			body = randomObject(n, f.size)
		}
		return func(ctx context.Context) (loadStep, error) {
			var err error
			switch op {
			case opPut:
				_, err = s.bucket.Put(ctx, s.putKey(s.puts.Add(1)-1), body)
			case opPutIfAbsent:
				_, err = s.bucket.PutIfAbsent(ctx, s.slotKey(s.slots.Add(1)-1), body)
			default:
				err = s.get(ctx)
			}
			return loadStep{bytes: f.size}, err
		}
	})
}

// randomObject makes an object that no store finds by heart or compresses.
func randomObject(n int, size int64) []byte {
	p := payloads{random: rand.New(rand.NewPCG(uint64(n), rand.Uint64())), size: int(size), kind: "random"}
	return p.next()
}

// fill writes what is to be read.
func (s *storeLoad) fill(ctx context.Context, inFlight int) error {
	count := max(1, min(benchGetBytes/s.size, benchObjectsMax))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	body := randomObject(0, s.size)
	for n := range count {
		group.Go(func() error {
			_, err := s.bucket.Put(ctx, s.getKey(n), body)
			return err
		})
		s.filled.Store(n + 1)
	}
	return group.Wait()
}

func (s *storeLoad) get(ctx context.Context) error {
	key := s.getKey(s.gets.Add(1) % s.filled.Load())
	object, err := s.bucket.Get(ctx, key)
	if err == nil && int64(len(object.Body)) != s.size {
		err = fmt.Errorf("object %s has %d bytes, not %d", key, len(object.Body), s.size)
	}
	return err
}

// clean deletes all objects, those included of which nobody knows whether they
// were written.
func (s *storeLoad) clean(ctx context.Context, inFlight int) error {
	ctx, cancel := context.WithTimeout(ctx, benchCleanTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for _, kind := range []struct {
		count int64
		key   func(int64) string
	}{
		{min(s.puts.Load(), benchObjectsMax), s.putKey}, {s.slots.Load(), s.slotKey}, {s.filled.Load(), s.getKey},
	} {
		for n := range kind.count {
			group.Go(func() error {
				_, err := s.bucket.Delete(ctx, kind.key(n))
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("delete what was written under %s: %w", s.prefix, err)
	}
	return nil
}
