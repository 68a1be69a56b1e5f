package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// bubbleFailure is a failure on its way out of a bubble.
type bubbleFailure string

// Helper is part of fataler.
func (bubbleFailure) Helper() {}

// Fatalf ends the bubble's function.
func (bubbleFailure) Fatalf(format string, args ...any) {
	panic(bubbleFailure(fmt.Sprintf(format, args...)))
}

// inBubble runs check with virtual time; what it finds fails rt, which has to
// happen outside for rapid to make the example smaller.
func inBubble(t *testing.T, rt *rapid.T, check func(t *testing.T, rt fataler)) {
	var failure any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failure = recover() }()
		check(t, bubbleFailure(""))
	})
	if failure != nil {
		rt.Fatalf("%v", failure)
	}
}

// drawFault draws what goes wrong with one request.
func drawFault(kinds ...faultKind) *rapid.Generator[fault] {
	return rapid.Custom(func(rt *rapid.T) fault {
		ms := func(n int, name string) time.Duration {
			return time.Duration(rapid.IntRange(0, n).Draw(rt, name)) * time.Millisecond
		}
		return fault{kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), delay: ms(200, "delay"), late: ms(90_000, "late")}
	})
}

// sent is a record of a test with what the producer said of it.
type sent struct {
	value    string
	delivery Delivery
}

// checkLog holds what the producer said against what the log holds: what was
// delivered is there once, at its offset; what failed is not; what is unknown
// is there once at most; and all of it is in the order in which it was handed over.
func checkLog(rt fataler, l *fakeLog, topic string, partitions int32, all []sent) {
	rt.Helper()
	at := map[string]Delivered{}
	place := map[string]int{} // by value, in the order of handing over
	for i, s := range all {
		place[s.value] = i
	}
	for p := range partitions {
		last := -1
		for i, r := range l.records(topic, p) {
			value := string(r.Value)
			if int(r.Offset) != i {
				rt.Fatalf("record %d of partition %d has offset %d", i, p, r.Offset)
			}
			if before, twice := at[value]; twice {
				rt.Fatalf("record %s is at offset %d of partition %d and at %d of %d", value, before.Offset, before.Partition, i, p)
			}
			at[value] = Delivered{Partition: p, Offset: int64(i)}
			n, known := place[value]
			if !known || n <= last {
				rt.Fatalf("partition %d has record %s (%d) after %d", p, value, n, last)
			}
			last = n
		}
	}
	for _, s := range all {
		where, err := s.delivery.Wait(context.Background())
		stored, there := at[s.value]
		switch {
		case err == nil && (!there || where.Partition != stored.Partition || where.Offset != stored.Offset):
			rt.Fatalf("record %s was told to be at offset %d of partition %d: it is at %+v, %v", s.value, where.Offset, where.Partition, stored, there)
		case err != nil && HadNoEffect(err) && there:
			rt.Fatalf("record %s was told not to be there (%v): it is", s.value, err)
		case err != nil && !HadNoEffect(err) && !IsOutcomeUnknown(err):
			rt.Fatalf("record %s: %v says neither", s.value, err)
		}
	}
}

// hand produces records one after the other, with pauses that let some batches go.
func hand(rt fataler, p *Producer, n, keys int, pause time.Duration) []sent {
	rt.Helper()
	var all []sent
	for i := range n {
		r := Record{Value: fmt.Appendf(nil, "%d-%s", i, strings.Repeat("x", i%97))}
		if keys > 0 && i%5 > 0 {
			r.Key = strconv.AppendInt(nil, int64(i%keys), 10)
		}
		d, err := p.Produce(context.Background(), r)
		if errors.Is(err, ErrProducerFenced) {
			break
		}
		if err != nil {
			rt.Fatalf("produce: %v", err)
		}
		all = append(all, sent{string(r.Value), d})
		if i%10 == 9 {
			time.Sleep(pause)
		}
	}
	return all
}

// TestProducerOnceAndInOrder is promises 2 and 4 for those who use the client:
// whatever happens to requests and answers, be they late by a minute, every
// record is delivered, once and in order.
func TestProducerOnceAndInOrder(t *testing.T) {
	faults := drawFault(faultNone, faultRefused, faultReset, faultLost, faultLate, faultBusy, faultTimeout, faultTaken,
		faultLate504, faultGateway, faultBroken, faultHang, faultNonsense)
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(faults, 0, 40).Draw(rt, "faults")
		partitions := rapid.Int32Range(1, 4).Draw(rt, "partitions")
		inFlight := rapid.IntRange(1, 5).Draw(rt, "in flight")
		requests := rapid.IntRange(1, 8).Draw(rt, "requests")
		linger := time.Duration(rapid.IntRange(0, 20).Draw(rt, "linger")) * time.Millisecond
		pause := time.Duration(rapid.IntRange(0, 40).Draw(rt, "pause")) * time.Millisecond
		inBubble(t, rt, func(t *testing.T, rt fataler) {
			l := newFakeLog()
			l.create("t", partitions)
			l.fault = planned(plan)
			p, err := l.client(t).NewProducer(ProducerConfig{
				Topic: "t", InFlight: inFlight, Requests: requests, Linger: linger - 1, BatchBytes: batchBytesMin, BufferBytes: 16 << 10,
				DeliveryTimeout: time.Hour,
			})
			if err != nil {
				rt.Fatalf("%v", err)
			}
			all := hand(rt, p, 300, 7, pause)
			if err := p.Close(context.Background()); err != nil {
				rt.Fatalf("close: %v", err)
			}
			l.late.Wait()
			checkLog(rt, l, "t", partitions, all)
			if l.peak > inFlight {
				rt.Fatalf("%d requests to one partition under way", l.peak)
			}
		})
	})
}

func planned(plan []fault) func(int) fault {
	return func(n int) fault {
		if n <= len(plan) {
			return plan[n-1]
		}
		return fault{}
	}
}

// TestProducerTellsWhatFailed is the same where records are refused or given
// up: whatever is told of a record is true, for good.
func TestProducerTellsWhatFailed(t *testing.T) {
	faults := drawFault(faultNone, faultRefused, faultReset, faultLost, faultLate, faultBusy, faultTaken,
		faultLate504, faultGateway, faultHang, faultNonsense, faultForbidden)
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(faults, 0, 60).Draw(rt, "faults")
		partitions := rapid.Int32Range(1, 3).Draw(rt, "partitions")
		inFlight := rapid.IntRange(1, 5).Draw(rt, "in flight")
		timeout := time.Duration(rapid.IntRange(1, 3000).Draw(rt, "timeout")) * time.Millisecond
		closeAfter := time.Duration(rapid.IntRange(0, 5000).Draw(rt, "close")) * time.Millisecond
		pause := time.Duration(rapid.IntRange(0, 200).Draw(rt, "pause")) * time.Millisecond
		inBubble(t, rt, func(t *testing.T, rt fataler) {
			l := newFakeLog()
			l.create("t", partitions)
			l.fault = planned(plan)
			p, err := l.client(t).NewProducer(ProducerConfig{
				Topic: "t", InFlight: inFlight, BatchBytes: batchBytesMin, DeliveryTimeout: timeout,
			})
			if err != nil {
				rt.Fatalf("%v", err)
			}
			all := hand(rt, p, 200, 7, pause)
			ctx, cancel := context.WithTimeout(context.Background(), closeAfter)
			defer cancel()
			closed := p.Close(ctx)
			failed := 0
			for _, s := range all {
				select {
				case <-s.delivery.Done():
				default:
					rt.Fatalf("record %s is on its way after Close", s.value)
				}
				if _, err := s.delivery.Wait(context.Background()); err != nil {
					failed++
				}
			}
			if failed > 0 && closed == nil {
				rt.Fatalf("%d records failed, and Close says nothing", failed)
			}
			l.late.Wait()
			checkLog(rt, l, "t", partitions, all)
		})
	})
}

// TestProducerOutlivesItsID: after a day without records the log has forgotten
// the id.
func TestProducerOutlivesItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 2)
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", InFlight: 5, BatchBytes: batchBytesMin})
		if err != nil {
			t.Fatal(err)
		}
		all := hand(t, p, 100, 3, 0)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, _ := p.ID()
		time.Sleep(25 * time.Hour)
		for i := range 100 {
			value := "later-" + strconv.Itoa(i)
			d, err := p.Produce(t.Context(), Record{Key: []byte("k"), Value: []byte(value)})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, sent{value, d})
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if second, ok := p.ID(); !ok || second == first {
			t.Errorf("id %d again", second)
		}
		checkLog(t, l, "t", 2, all)
	})
}

// TestProducerOutlivesItsTopic: a topic that is created again knows nothing of
// the sequences before.
func TestProducerOutlivesItsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", InFlight: 5, BatchBytes: batchBytesMin, BufferBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		hand(t, p, 100, 3, 0)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.remove("t")
		gone := hand(t, p, 1, 0, 0)
		if _, err := gone[0].delivery.Wait(t.Context()); !errors.Is(err, ErrTopicNotFound) || !HadNoEffect(err) {
			t.Errorf("%v", err)
		}
		if err := p.Flush(t.Context()); !errors.Is(err, ErrTopicNotFound) {
			t.Errorf("flush: %v", err)
		}
		l.create("t", 3)
		all := hand(t, p, 200, 3, time.Millisecond)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkLog(t, l, "t", 3, all)
		if len(l.records("t", 1))+len(l.records("t", 2)) == 0 {
			t.Error("the new partitions are not used")
		}
	})
}

// TestProducerIsShutOut: whoever takes the id over ends the producer, which does not
// go on under another.
func TestProducerIsShutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		c := l.client(t)
		p, err := c.NewProducer(ProducerConfig{Topic: "t"})
		if err != nil {
			t.Fatal(err)
		}
		all := hand(t, p, 10, 0, 0)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		id, _ := p.ID()
		successor, err := c.NewProducer(ProducerConfig{Topic: "t", ProducerID: &id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := successor.ProduceSync(t.Context(), Record{Value: []byte("mine")}); err != nil {
			t.Fatal(err)
		}
		d, err := p.Produce(t.Context(), Record{Value: []byte("yours")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Wait(t.Context()); !errors.Is(err, ErrProducerFenced) || !HadNoEffect(err) {
			t.Errorf("%v", err)
		}
		if _, err := p.Produce(t.Context(), Record{Value: []byte("again")}); !errors.Is(err, ErrProducerFenced) {
			t.Errorf("%v", err)
		}
		if err := p.Close(t.Context()); !errors.Is(err, ErrProducerFenced) {
			t.Errorf("close: %v", err)
		}
		if err := successor.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(l.records("t", 0)); n != len(all)+1 {
			t.Errorf("%d records", n)
		}
	})
}

// TestProducerAcksOneRepeatsNothingUnknown: without a producer id a repeat could
// store records twice.
func TestProducerAcksOneRepeatsNothingUnknown(t *testing.T) {
	for kind, safe := range map[faultKind]bool{
		faultRefused: true, faultBusy: true, faultReset: false, faultLost: false, faultTimeout: false, faultTaken: false,
		faultGateway: false, faultBroken: false, faultHang: false, faultNonsense: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newFakeLog()
			l.create("t", 1)
			l.fault = planned([]fault{{}, {kind: kind}})
			p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", Acks: AcksOne})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				where, err := p.ProduceSync(t.Context(), Record{Value: strconv.AppendInt(nil, int64(i), 10)})
				switch {
				case i == 1 && !safe:
					if !IsOutcomeUnknown(err) || HadNoEffect(err) {
						t.Errorf("fault %d: %v", kind, err)
					}
				case err != nil || where[0].Offset != noOffset:
					t.Errorf("fault %d: record %d: %+v, %v", kind, i, where, err)
				}
			}
			_ = p.Close(t.Context())
			l.late.Wait()
			if n := len(l.records("t", 0)); n < 2 || n > 3 || safe && n != 3 {
				t.Errorf("fault %d: %d records", kind, n)
			}
		})
	}
}

// TestProducerWaitsForRoom: BufferBytes bound what is not acknowledged, and who
// waits for room goes on when there is some.
func TestProducerWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		l.fault = func(int) fault { return fault{delay: time.Second} }
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", BatchBytes: 8 << 10, BufferBytes: 16 << 10, Linger: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		taken := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := p.Produce(ctx, Record{Value: make([]byte, 1000)})
			cancel()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				break
			}
			taken++
		}
		if taken < 14 || taken > 16 {
			t.Errorf("%d records of 1000 bytes in 16 KiB", taken)
		}
		began := time.Now()
		if _, err := p.Produce(t.Context(), Record{Value: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took == 0 || took > 2*time.Second {
			t.Errorf("waited for %s", took)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(l.records("t", 0)); n != taken+1 {
			t.Errorf("%d records, not %d", n, taken+1)
		}
	})
}

// TestProducerMakesRoom: where only open batches take room, they do not wait for
// Linger while somebody waits for it.
func TestProducerMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 2)
		p, err := l.client(t).NewProducer(ProducerConfig{
			Topic: "t", Partitioner: ManualPartitioner, BatchBytes: 8 << 10, BufferBytes: 16 << 10, Linger: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i, size := range []int{5 << 10, 5 << 10, 10 << 10} {
			if _, err := p.Produce(t.Context(), Record{Partition: int32(i % 2), Value: make([]byte, size)}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited for %s", took)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestProducerGivesUp: a record that is not acknowledged in time fails, and what is
// told of it is what is known.
func TestProducerGivesUp(t *testing.T) {
	for kind, unknown := range map[faultKind]bool{faultBusy: false, faultRefused: false, faultTaken: true, faultHang: true} {
		synctest.Test(t, func(t *testing.T) {
			l := newFakeLog()
			l.create("t", 1)
			failing := true
			l.fault = func(int) fault {
				if failing {
					return fault{kind: kind}
				}
				return fault{}
			}
			p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", DeliveryTimeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = p.ProduceSync(t.Context(), Record{Value: []byte("a")})
			if took := time.Since(began); !errors.Is(err, ErrDeliveryTimeout) || took < 10*time.Second || took > 11*time.Second {
				t.Errorf("fault %d: %v after %s", kind, err, took)
			}
			if IsOutcomeUnknown(err) != unknown || HadNoEffect(err) == unknown {
				t.Errorf("fault %d: %v", kind, err)
			}
			var failed *DeliveryError
			if !errors.As(err, &failed) || failed.Topic != "t" || failed.Records != 1 {
				t.Errorf("fault %d: %v", kind, err)
			}
			failing = false
			if _, err := p.ProduceSync(t.Context(), Record{Value: []byte("b")}); err != nil {
				t.Errorf("fault %d: the next record: %v", kind, err)
			}
			_ = p.Close(t.Context())
			l.late.Wait()
			if records := l.records("t", 0); string(records[len(records)-1].Value) != "b" {
				t.Errorf("fault %d: %d records", kind, len(records))
			}
		})
	}
}

// TestProducerLingers: a batch waits for Linger and no longer, a full one not at
// all, and Flush ends the wait.
func TestProducerLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 1)
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", Linger: 10 * time.Second, BatchBytes: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		put := func(size int) Delivery {
			d, err := p.Produce(t.Context(), Record{Value: make([]byte, size)})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		took := func(d Delivery) time.Duration {
			began := time.Now()
			if _, err := d.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		first := put(10)
		time.Sleep(4 * time.Second)
		second := put(10)
		if d := took(first); d != 6*time.Second {
			t.Errorf("the first of a batch waited for %s", d)
		}
		if d := took(second); d != 0 {
			t.Errorf("the second waited for %s", d)
		}
		if d := took(put(5000)); d != 0 {
			t.Errorf("a full batch waited for %s", d)
		}
		d := put(10)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := took(d); d != 0 {
			t.Errorf("after a flush it took %s", d)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Produce(t.Context(), Record{}); !errors.Is(err, ErrProducerClosed) {
			t.Errorf("%v", err)
		}
	})
}

// TestProducerSticks: records without a key fill one batch after the other, each
// in another partition.
func TestProducerSticks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 4)
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t", BatchBytes: batchBytesMin, Linger: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var runs []int32
		for range 100 {
			d, err := p.Produce(t.Context(), Record{Value: make([]byte, 100)})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(runs); n == 0 || runs[n-1] != d.Partition() {
				runs = append(runs, d.Partition())
			}
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(runs) < 10 || len(runs) > 20 {
			t.Errorf("%d runs over 100 records", len(runs))
		}
		for i := range runs[1:] {
			if runs[i+1] != (runs[i]+1)%4 {
				t.Errorf("runs %v", runs)
				break
			}
		}
	})
}

func TestProducerPartitions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(rt, "key")
		partitions := rapid.Int32Range(1, 1<<20).Draw(rt, "partitions")
		p := KeyPartitioner(&Record{Key: key}, partitions)
		if key == nil && p != AnyPartition || key != nil && (p < 0 || p >= partitions || p != PartitionOf(key, partitions)) {
			rt.Fatalf("partition %d", p)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.create("t", 3)
		p, err := l.client(t).NewProducer(ProducerConfig{Partitioner: ManualPartitioner})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close(t.Context()) }()
		where, err := p.ProduceSync(t.Context(), Record{Topic: "t", Partition: 2}, Record{Topic: "t", Partition: 0}, Record{Topic: "t", Partition: 2})
		if err != nil || !slices.Equal(where, []Delivered{{"t", 2, 0, false}, {"t", 0, 0, false}, {"t", 2, 1, false}}) {
			t.Errorf("%+v, %v", where, err)
		}
		for _, r := range []Record{{Topic: "t", Partition: 3}, {Topic: "t", Partition: -2}, {}, {Topic: "t", Value: make([]byte, 16<<20)}} {
			if _, err := p.Produce(t.Context(), r); !errors.Is(err, ErrInvalidArgument) || !HadNoEffect(err) {
				t.Errorf("%v", err)
			}
		}
		if _, err := p.ProduceSync(t.Context(), Record{Topic: "none"}); !errors.Is(err, ErrTopicNotFound) {
			t.Errorf("%v", err)
		}
	})
}

// TestProducerFindsNewPartitions: a topic that got more is looked at again after
// some time.
func TestProducerFindsNewPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLog()
		l.auto = true
		p, err := l.client(t).NewProducer(ProducerConfig{Topic: "t"})
		if err != nil {
			t.Fatal(err)
		}
		hand(t, p, 20, 5, 0)
		topic, _ := l.state.TopicByName("t")
		if topic.Partitions != 2 {
			t.Fatalf("%d partitions", topic.Partitions)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.remove("t")
		l.create("t", 50)
		time.Sleep(topicMaxAge + time.Second)
		hand(t, p, 10, 0, time.Second)
		used := map[int32]bool{}
		for i := range 100 {
			d, err := p.Produce(t.Context(), Record{Key: strconv.AppendInt(nil, int64(i), 10)})
			if err != nil {
				t.Fatal(err)
			}
			used[d.Partition()] = true
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(used) < 30 {
			t.Errorf("%d partitions are used", len(used))
		}
	})
}

func TestProducerConfigs(t *testing.T) {
	id := int64(-1)
	for _, cfg := range []ProducerConfig{
		{BatchBytes: 1}, {BatchBytes: 16 << 20}, {BufferBytes: 1 << 20}, {InFlight: 6}, {InFlight: -1}, {Requests: 2000}, {Requests: -1},
		{DeliveryTimeout: -1}, {DeliveryTimeout: 13 * time.Hour}, {Acks: 2}, {Acks: AcksOne, InFlight: 2}, {Acks: AcksOne, ProducerID: new(int64)},
		{ProducerID: &id}, {Compression: 9},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	if err := (ProducerConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}
