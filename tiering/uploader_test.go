package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/hedging"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "segments/7f/01JDB2N6Q0W4D1BT8XJ3CR5H7K.seg"

var (
	testBody = bytes.Repeat([]byte("wadi"), 1000)
	testCRC  = crc32.Checksum(testBody, segment.Castagnoli)
)

// testConfig has figures that tests can calculate with.
func testConfig() UploaderConfig {
	return UploaderConfig{
		AttemptTimeout:    4 * time.Second,
		BytesPerSecondMin: 1 << 40,
		HedgeAfterMin:     100 * time.Millisecond,
		HedgeQuantile:     0.95,
		HedgeShareMax:     0.05,
		BackoffMin:        100 * time.Millisecond,
		BackoffMax:        2 * time.Second,
		RefusedBackoff:    20 * time.Second,
		InFlightMax:       4,
	}
}

func newTestUploader(store objstore.Putter, change ...func(*UploaderConfig)) *Uploader {
	cfg := testConfig()
	for _, f := range change {
		f(&cfg)
	}
	return NewUploader(cfg, store, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
}

func noHedges(c *UploaderConfig) { c.HedgeShareMax = 0 }

// upload uploads the test body and checks that it is in the store then.
func uploadOne(t *testing.T, u *Uploader, store *scriptedStore) {
	t.Helper()
	receipt, err := u.Upload(context.Background(), testKey, testBody, testCRC)
	if err != nil {
		t.Fatal(err)
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if !bytes.Equal(store.objects[testKey], testBody) {
		t.Fatal("success, but the object is not there")
	}
	if receipt.Date.IsZero() {
		t.Fatal("no date of the store")
	}
}

// Whatever a PUT comes to, the upload ends with the object in the store, after
// as many PUTs as it takes.
func TestUploadEndsInSuccess(t *testing.T) {
	for _, c := range []struct {
		name     string
		script   []behaviour
		puts     int
		landings int // in the end, also of PUTs that were given up
		least    time.Duration
		most     time.Duration
	}{
		{"at once", []behaviour{fine}, 1, 1, 10 * time.Millisecond, 10 * time.Millisecond},
		{"answer lost after the effect", []behaviour{lostAnswer, fine}, 2, 2, 65 * time.Millisecond, 115 * time.Millisecond},
		{"late landing", []behaviour{lateLanding, fine}, 2, 2, 65 * time.Millisecond, 115 * time.Millisecond},
		{"hang", []behaviour{hanging, fine}, 2, 1, 4060 * time.Millisecond, 4110 * time.Millisecond},
		{"hang that cannot be cancelled", []behaviour{{delay: time.Hour, effect: true, deaf: true}, fine}, 2, 2, 4060 * time.Millisecond, 4110 * time.Millisecond},
		{"storm of 503", []behaviour{throttled, throttled, throttled, throttled, throttled, throttled, throttled, fine}, 8, 1, 3595 * time.Millisecond, 7145 * time.Millisecond},
		{"refused, then allowed", []behaviour{refusal, refusal, fine}, 3, 1, 20 * time.Second, 41 * time.Second},
		{"not supported, then supported", []behaviour{{err: putError(objstore.NotCommitted, objstore.ErrUnsupported)}, fine}, 2, 1, 10 * time.Second, 21 * time.Second},
		{"checksum refused", []behaviour{{err: putError(objstore.NotCommitted, objstore.ErrChecksum)}, fine}, 2, 1, 60 * time.Millisecond, 110 * time.Millisecond},
		{"error of no driver", []behaviour{{err: io.ErrUnexpectedEOF}, fine}, 2, 1, 60 * time.Millisecond, 110 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScriptedStore(t, c.script...)
				u := newTestUploader(store, noHedges)
				begun := time.Now()
				uploadOne(t, u, store)
				if took := time.Since(begun); took < c.least || took > c.most {
					t.Errorf("took %v, expected %v to %v", took, c.least, c.most)
				}
				if !u.Health().Healthy() {
					t.Errorf("health is %+v", u.Health())
				}
				u.Wait()
				store.background.Wait()
				if len(store.puts) != c.puts || store.landings != c.landings {
					t.Errorf("%d PUTs, %d landed; expected %d and %d", len(store.puts), store.landings, c.puts, c.landings)
				}
			})
		})
	}
}

func TestBackoffDoublesWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := make([]behaviour, 30)
		for i := range script {
			script[i] = behaviour{err: putError(objstore.NotCommitted, objstore.ErrThrottled)}
		}
		store := newScriptedStore(t, append(script, fine)...)
		uploadOne(t, newTestUploader(store, noHedges), store)
		full := 100 * time.Millisecond
		for i := 1; i < len(store.puts); i++ {
			if gap := store.puts[i].Sub(store.puts[i-1]); gap < full/2 || gap > full {
				t.Errorf("retry %d after %v, expected %v to %v", i, gap, full/2, full)
			}
			full = min(2*full, 2*time.Second)
		}
	})
}

// A body that needs longer than AttemptTimeout on a thin line gets the time.
func TestAttemptTimeoutGrowsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, slow(6*time.Second))
		u := newTestUploader(store, noHedges, func(c *UploaderConfig) { c.BytesPerSecondMin = len(testBody) / 3 })
		uploadOne(t, u, store)
		if len(store.puts) != 1 {
			t.Errorf("%d PUTs", len(store.puts))
		}
	})
}

func TestHedge(t *testing.T) {
	failing := func(after time.Duration) behaviour {
		return behaviour{delay: after, err: putError(objstore.NotCommitted, objstore.ErrThrottled)}
	}
	const hedgeAfter = time.Second // a quarter of AttemptTimeout, as nothing is known yet
	for _, c := range []struct {
		name      string
		script    []behaviour
		puts      int
		cancelled int
		won       int
		least     time.Duration
		most      time.Duration
	}{
		{"wins over a hang", []behaviour{hanging, fine}, 2, 1, 1, hedgeAfter + 10*time.Millisecond, hedgeAfter + 10*time.Millisecond},
		{"wins over a driver that cannot be cancelled", []behaviour{{delay: time.Hour, effect: true, deaf: true}, fine}, 2, 0, 1, hedgeAfter + 10*time.Millisecond, hedgeAfter + 10*time.Millisecond},
		{"loses", []behaviour{slow(1200 * time.Millisecond), slow(time.Second)}, 2, 1, 0, 1200 * time.Millisecond, 1200 * time.Millisecond},
		{"not needed", []behaviour{slow(900 * time.Millisecond)}, 1, 0, 0, 900 * time.Millisecond, 900 * time.Millisecond},
		{"wins after the first failed", []behaviour{failing(1100 * time.Millisecond), slow(time.Second)}, 2, 0, 1, 2 * time.Second, 2 * time.Second},
		{"fails, the first wins", []behaviour{slow(2 * time.Second), failing(time.Millisecond)}, 2, 0, 0, 2 * time.Second, 2 * time.Second},
		{"both fail", []behaviour{failing(1100 * time.Millisecond), failing(500 * time.Millisecond), fine}, 3, 0, 0, 1560 * time.Millisecond, 1610 * time.Millisecond},
		{"both hang", []behaviour{hanging, hanging, fine}, 3, 2, 0, 4060 * time.Millisecond, 4110 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScriptedStore(t, c.script...)
				u := newTestUploader(store)
				begun := time.Now()
				uploadOne(t, u, store)
				if took := time.Since(begun); took < c.least || took > c.most {
					t.Errorf("took %v, expected %v to %v", took, c.least, c.most)
				}
				u.Wait()
				if len(store.puts) != c.puts || store.cancelled != c.cancelled {
					t.Errorf("%d PUTs, %d cancelled; expected %d and %d", len(store.puts), store.cancelled, c.puts, c.cancelled)
				}
				if won := testutil.ToFloat64(u.metrics.hedgesWon); won != float64(c.won) {
					t.Errorf("%v hedges won, expected %d", won, c.won)
				}
			})
		})
	}
}

// Once PUTs of like size are known to take 50 ms, one of them that hangs is
// hedged after HedgeAfterMin; once they take 500 ms, after that. Larger bodies
// are not measured by them.
func TestHedgeWaitsForTheUsualTime(t *testing.T) {
	for _, c := range []struct{ usual, hedged time.Duration }{
		{50 * time.Millisecond, 100 * time.Millisecond},
		{500 * time.Millisecond, 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			script := make([]behaviour, hedging.SamplesMin)
			for i := range script {
				script[i] = slow(c.usual)
			}
			store := newScriptedStore(t, append(script, hanging, fine)...)
			u := newTestUploader(store)
			for range script {
				uploadOne(t, u, store)
			}
			begun := time.Now()
			uploadOne(t, u, store)
			if got := store.puts[len(store.puts)-1].Sub(begun); got != c.hedged {
				t.Errorf("hedged after %v, expected %v", got, c.hedged)
			}
			// The PUT that lost is remembered as one that took at least this long.
			if got, _ := u.latencies.Quantile(len(testBody), 0.999); got != c.hedged+10*time.Millisecond {
				t.Errorf("slowest is %v", got)
			}
			for range hedging.SamplesMin { // as of small bodies
				u.latencies.Observe(4<<20, 10*time.Millisecond)
			}
			segment := upload{Uploader: u, body: make([]byte, 4<<20+hedgeSmallBytes)}
			if got := segment.hedgeAfter(); got != 200*time.Millisecond {
				t.Errorf("a body of 4 MiB, which usually takes 10 ms, is hedged after %v", got)
			}
			large := upload{Uploader: u, body: make([]byte, 1<<20)}
			if got := large.hedgeAfter(); got.Round(time.Millisecond) != time.Second {
				t.Errorf("a body of 1 MiB is hedged after %v", got)
			}
		})
	}
}

// A store that is slow for everyone gets few hedges, and when it stays slow,
// the usual time catches up and there are none.
func TestHedgesAreAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, slow(10*time.Millisecond))
		u := newTestUploader(store)
		hedges := func() int { return int(testutil.ToFloat64(u.metrics.puts.WithLabelValues(kindHedge))) }
		for range 100 {
			uploadOne(t, u, store)
		}
		if hedges() != 0 {
			t.Errorf("%d hedges while the store was fast", hedges())
		}
		store.script[0] = slow(3 * time.Second)
		for range 200 {
			uploadOne(t, u, store)
		}
		early := hedges()
		if early == 0 || early > hedging.Burst+200/20 {
			t.Errorf("%d hedges of 200 slow PUTs", early)
		}
		// A little under what is usual: equal would be a race of two timers.
		store.script[0] = slow(2900 * time.Millisecond)
		for range hedging.SamplesMax / 2 {
			uploadOne(t, u, store)
		}
		if hedges() != early {
			t.Errorf("%d hedges although slow is usual now", hedges()-early)
		}
	})
}

func TestContextEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		script  []behaviour
		after   time.Duration
		outcome objstore.Outcome
		cause   error // of the store, if any
		puts    int
	}{
		{"before the first PUT", []behaviour{fine}, 0, objstore.NotCommitted, nil, 0},
		{"while a PUT hangs", []behaviour{hanging}, time.Second / 2, objstore.Unknown, nil, 1},
		{"while a PUT hangs that cannot be cancelled", []behaviour{{delay: time.Hour, deaf: true}}, time.Second / 2, objstore.Unknown, nil, 1},
		{"while a PUT and its hedge hang", []behaviour{hanging}, 2 * time.Second, objstore.Unknown, nil, 2},
		{"in the pause after a 503", []behaviour{throttled}, 20 * time.Millisecond, objstore.NotCommitted, objstore.ErrThrottled, 1},
		{"in the pause after a refusal", []behaviour{refusal}, time.Second, objstore.NotCommitted, objstore.ErrRefused, 1},
		{"in the pause after a lost answer", []behaviour{lostAnswer}, 20 * time.Millisecond, objstore.Unknown, nil, 1},
		{"in the pause after a lost answer and a 503", []behaviour{lostAnswer, throttled}, 150 * time.Millisecond, objstore.Unknown, objstore.ErrThrottled, 2},
		{"after an unanswered PUT", []behaviour{hanging}, 4040 * time.Millisecond, objstore.Unknown, errUnanswered, 2},
		{"while the PUT after a 503 hangs", []behaviour{throttled, hanging}, time.Second, objstore.Unknown, objstore.ErrThrottled, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScriptedStore(t, c.script...)
				u := newTestUploader(store)
				ctx, cancel := context.WithTimeout(context.Background(), c.after)
				defer cancel()
				begun := time.Now()
				_, err := u.Upload(ctx, testKey, testBody, testCRC)
				if took := time.Since(begun); took != c.after {
					t.Errorf("returned after %v, not %v", took, c.after)
				}
				if !errors.Is(err, context.DeadlineExceeded) || c.cause != nil && !errors.Is(err, c.cause) {
					t.Errorf("error is %v", err)
				}
				if got := objstore.OutcomeOf(err); got != c.outcome {
					t.Errorf("outcome is %v, expected %v: %v", got, c.outcome, err)
				}
				u.Wait()
				if len(store.puts) != c.puts {
					t.Errorf("%d PUTs, expected %d", len(store.puts), c.puts)
				}
			})
		})
	}
}

// checkingStore refuses what is not as its checksum says.
type checkingStore struct {
	*scriptedStore
	refused int
}

func (s *checkingStore) PutWithCRC(ctx context.Context, key string, body []byte, crc uint32) (objstore.Receipt, error) {
	if crc32.Checksum(body, segment.Castagnoli) != crc {
		s.refused++
		return objstore.Receipt{}, putError(objstore.NotCommitted, objstore.ErrChecksum)
	}
	return s.Put(ctx, key, body)
}

// What changed in memory after it was checked is not stored, and not tried again.
func TestDamagedSegmentIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &checkingStore{scriptedStore: newScriptedStore(t, fine)}
		u := newTestUploader(store)
		damaged := bytes.Clone(testBody)
		damaged[1000] ^= 4
		_, err := u.Upload(context.Background(), testKey, damaged, testCRC)
		if !errors.Is(err, ErrDamaged) || objstore.OutcomeOf(err) != objstore.NotCommitted {
			t.Errorf("error is %v, outcome %v", err, objstore.OutcomeOf(err))
		}
		if store.refused != 1 || len(store.puts) != 0 {
			t.Errorf("%d PUTs refused, %d taken", store.refused, len(store.puts))
		}
		if _, err := u.Upload(context.Background(), testKey, testBody, testCRC); err != nil {
			t.Error(err)
		}
		u.Wait()
	})
}

func TestNothingIsSentAfterTheContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	store := newScriptedStore(t, fine)
	u := newTestUploader(store)
	for range 50 {
		if _, err := u.Upload(ctx, testKey, testBody, testCRC); objstore.OutcomeOf(err) != objstore.NotCommitted {
			t.Error(err)
		}
	}
	if len(store.puts) != 0 {
		t.Errorf("%d PUTs", len(store.puts))
	}
}

func TestContextEndsWhileWaitingForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, slow(time.Minute))
		u := newTestUploader(store, noHedges, func(c *UploaderConfig) { c.InFlightMax = 1; c.AttemptTimeout = time.Hour })
		go func() { _, _ = u.Upload(context.Background(), testKey, testBody, testCRC) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		_, err := u.Upload(ctx, testKey+"2", testBody, testCRC)
		if !errors.Is(err, context.Canceled) || objstore.OutcomeOf(err) != objstore.NotCommitted {
			t.Error(err)
		}
		u.Wait()
		if len(store.puts) != 1 {
			t.Errorf("%d PUTs", len(store.puts))
		}
	})
}

// PUTs are never more than InFlightMax, with hedges and with those that were
// given up and go on all the same; and all uploads get their turn.
func TestInFlightMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := behaviour{delay: 20 * time.Second, effect: true, deaf: true}
		store := newScriptedStore(t, deaf, hanging, deaf, throttled, slow(2*time.Second), hanging, lostAnswer, slow(300*time.Millisecond))
		u := newTestUploader(store, func(c *UploaderConfig) { c.HedgeShareMax = 1 })
		var uploads sync.WaitGroup
		for i := range 40 {
			uploads.Go(func() {
				if _, err := u.Upload(context.Background(), fmt.Sprintf("%s-%d", testKey, i), testBody, testCRC); err != nil {
					t.Error(err)
				}
			})
		}
		uploads.Wait()
		u.Wait()
		if store.inFlightMax != 4 {
			t.Errorf("%d PUTs at once", store.inFlightMax)
		}
		if len(store.objects) != 40 || len(u.slots) != 0 || testutil.ToFloat64(u.metrics.inFlight) != 0 {
			t.Errorf("%d objects, %d slots taken", len(store.objects), len(u.slots))
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, fine, throttled, hanging, refusal, fine)
		var log bytes.Buffer
		u := NewUploader(testConfig(), store, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		if h := u.Health(); !h.Healthy() || !h.LastSuccess.IsZero() {
			t.Errorf("before the first PUT: %+v", h)
		}
		uploadOne(t, u, store)
		first := time.Now()
		if h := u.Health(); h != (Health{LastSuccess: first}) {
			t.Errorf("after a success: %+v", h)
		}

		time.Sleep(time.Minute)
		begun := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			uploadOne(t, u, store)
		}()
		time.Sleep(20 * time.Millisecond)
		h := u.Health()
		if h.Healthy() || h.LastSuccess != first || h.AwaySince != begun || h.Refused || !errors.Is(h.Err, objstore.ErrThrottled) {
			t.Errorf("after a 503: %+v", h)
		}
		// The hedge of the hanging PUT is refused, which is known at the latest
		// when that is given up, between 4.055 and 4.105 s after the beginning.
		time.Sleep(4100 * time.Millisecond)
		h = u.Health()
		if h.Healthy() || h.AwaySince != begun || h.Refused || !errors.Is(h.Err, errUnanswered) {
			t.Errorf("after a hang: %+v", h)
		}
		<-done
		if h := u.Health(); h != (Health{LastSuccess: time.Now()}) {
			t.Errorf("after a success: %+v", h)
		}
		u.Wait()
		if warned := strings.Count(log.String(), "level=WARN"); warned != 1 || strings.Count(log.String(), "takes segments again") != 1 {
			t.Errorf("an outage is to be reported once when it begins and once when it ends:\n%s", log.String())
		}
	})
}

func TestRefusalIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, refusal, fine)
		var log bytes.Buffer
		u := NewUploader(testConfig(), store, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		done := make(chan struct{})
		go func() {
			defer close(done)
			uploadOne(t, u, store)
		}()
		time.Sleep(time.Second)
		if h := u.Health(); !h.Refused || h.Healthy() || !errors.Is(h.Err, objstore.ErrRefused) {
			t.Errorf("health is %+v", h)
		}
		<-done
		if !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("not reported:\n%s", log.String())
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScriptedStore(t, throttled, refusal, hanging, fine)
		u := newTestUploader(store)
		uploadOne(t, u, store)
		u.Wait()
		for name, c := range map[string]struct {
			metric prometheus.Collector
			want   float64
		}{
			"first":     {u.metrics.puts.WithLabelValues(kindFirst), 1},
			"retry":     {u.metrics.puts.WithLabelValues(kindRetry), 2},
			"hedge":     {u.metrics.puts.WithLabelValues(kindHedge), 1},
			"bytes":     {u.metrics.bytes, float64(4 * len(testBody))},
			"throttled": {u.metrics.failures.WithLabelValues("throttled"), 1},
			"refused":   {u.metrics.failures.WithLabelValues("refused"), 1},
			"won":       {u.metrics.hedgesWon, 1},
		} {
			if got := testutil.ToFloat64(c.metric); got != c.want {
				t.Errorf("%s is %v, expected %v", name, got, c.want)
			}
		}
		if n := testutil.CollectAndCount(u.metrics.failures); n != 2 {
			t.Errorf("%d reasons of failures; a PUT that lost to its hedge is none", n)
		}
	})
}

// Under any script, an upload returns when the store has answered a PUT with
// success and not before, with the object there, and its outcome is never
// stated wrongly.
func TestUploadUnderAnyScript(testingT *testing.T) {
	rapid.Check(testingT, func(t *rapid.T) {
		milliseconds := func(most int) *rapid.Generator[time.Duration] {
			return rapid.Map(rapid.IntRange(0, most), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
		}
		step := rapid.Custom(func(t *rapid.T) behaviour {
			return behaviour{
				delay:  milliseconds(6000).Draw(t, "delay"),
				effect: rapid.Bool().Draw(t, "effect"),
				lands:  milliseconds(9000).Draw(t, "lands"),
				hang:   rapid.Bool().Draw(t, "hang"),
				err: rapid.SampledFrom([]error{
					putError(objstore.Unknown, io.ErrUnexpectedEOF),
					putError(objstore.Unknown, objstore.ErrThrottled),
					io.EOF,
				}).Draw(t, "error"),
			}
		})
		script := append(rapid.SliceOfN(step, 0, 8).Draw(t, "script"), fine)
		deadline := time.Minute
		if rapid.Bool().Draw(t, "deadline") {
			deadline = milliseconds(10_000).Draw(t, "after")
		}
		share := rapid.SampledFrom([]float64{0, 0.1, 1}).Draw(t, "hedge share")
		synctest.Test(testingT, func(tt *testing.T) {
			store := newScriptedStore(tt, script...)
			u := newTestUploader(store, func(c *UploaderConfig) { c.HedgeShareMax = share })
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			_, err := u.Upload(ctx, testKey, testBody, testCRC)
			store.mu.Lock()
			successes, landings := store.successes, store.landings
			store.mu.Unlock()
			if (err == nil) && (successes == 0 || landings == 0) {
				tt.Errorf("success after %d answers of success, %d landings", successes, landings)
			}
			if err != nil && ctx.Err() == nil {
				tt.Errorf("gave up before its time: %v", err)
			}
			u.Wait()
			store.background.Wait()
			if err != nil && objstore.OutcomeOf(err) == objstore.NotCommitted && store.landings > 0 {
				tt.Errorf("the object is there, in spite of %v", err)
			}
		})
	})
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultUploaderConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*UploaderConfig){
		"AttemptTimeout":    func(c *UploaderConfig) { c.AttemptTimeout = 0 },
		"BytesPerSecondMin": func(c *UploaderConfig) { c.BytesPerSecondMin = 0 },
		"HedgeAfterMin":     func(c *UploaderConfig) { c.HedgeAfterMin = -1 },
		"HedgeQuantile":     func(c *UploaderConfig) { c.HedgeQuantile = 1 },
		"HedgeShareMax":     func(c *UploaderConfig) { c.HedgeShareMax = 1.1 },
		"BackoffMin":        func(c *UploaderConfig) { c.BackoffMin = 0 },
		"BackoffMax":        func(c *UploaderConfig) { c.BackoffMax = c.BackoffMin - 1 },
		"RefusedBackoff":    func(c *UploaderConfig) { c.RefusedBackoff = 0 },
		"InFlightMax":       func(c *UploaderConfig) { c.InFlightMax = 0 },
	} {
		cfg := DefaultUploaderConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
