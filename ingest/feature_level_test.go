package ingest_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/recordbatch"
)

// TestKeysNeedTheirLevel: below it requests with a key or a token are refused by
// themselves, before they could drag others with them; from it on they are taken.
func TestKeysNeedTheirLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.level = 1
		w.createTopic(t)
		produce := func(n *simulated, set func(*ingest.Options)) error {
			opts := ingest.Options{Producer: recordbatch.NoProducer, Expected: catalog.AnyOffset}
			set(&opts)
			record := ingest.Record{Record: recordbatch.Record{Value: []byte("x")}}
			_, err := n.ingester.ProduceRecords(t.Context(), w.topic, []ingest.Record{record}, opts)
			return err
		}
		withKey := func(o *ingest.Options) { o.Key.Name = "k" }
		withToken := func(o *ingest.Options) { o.Token = "a" }
		n := w.startNode(t)
		for _, set := range []func(*ingest.Options){withKey, withToken} {
			if err := produce(n, set); !errors.Is(err, catalog.ErrFeatureLevel) {
				t.Errorf("at level 1: %v", err)
			}
		}
		if err := produce(n, func(*ingest.Options) {}); err != nil {
			t.Errorf("beside them: %v", err)
		}
		n.end()
		w.powerCut()

		w.level = 2
		n = w.startNode(t)
		if err := produce(n, withKey); err != nil {
			t.Errorf("at level 2: %v", err)
		}
		var fence *catalog.FenceError
		if err := produce(n, withToken); !errors.As(err, &fence) {
			t.Errorf("at level 2: %v", err)
		}
		for _, set := range []func(*ingest.Options){
			func(o *ingest.Options) { o.Key.Name, o.Acks = "k", ingest.AcksOne },
			func(o *ingest.Options) { o.Token, o.Acks = "k", ingest.AcksOne },
		} {
			if err := produce(n, set); !errors.Is(err, ingest.ErrNeedsAcksAll) {
				t.Errorf("with acks=1: %v", err)
			}
		}
		if err := produce(n, func(o *ingest.Options) { o.Key.Name, o.Producer.ID = "k", 1 }); !errors.Is(err, ingest.ErrTwoKeys) {
			t.Errorf("with a producer id: %v", err)
		}
		n.end()
	})
}
