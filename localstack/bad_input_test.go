package localstack

import (
	"testing"

	"github.com/wadilog/wadi/httpapi/apitest"
)

// badInputGrowthMax bounds what bad requests may add to the memory of a node, in
// bytes resident at the peak. Most of it are two bodies of 16 MiB, each of which is
// copied while it grows.
const badInputGrowthMax = 64 << 20

// TestBadInput sends all that is refused to a real node on a real store. The
// node collects garbage early, so that its peak is what was in use.
func TestBadInput(t *testing.T) {
	t.Parallel()
	o := onMinIO(t, sharedMinIO(t))
	o.Env = append(o.Env, "GOGC=10")
	node := startNode(t.Context(), t, o)
	_, before, err := node.Usage()
	if err != nil {
		t.Fatal(err)
	}
	apitest.Run(t, node.URL)
	_, after, err := node.Usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident at the peak: %d MiB before, %d MiB after", before>>20, after>>20)
	if after-before > badInputGrowthMax {
		t.Errorf("bad requests took %d bytes of memory", after-before)
	}
	if err := node.Stop(); err != nil {
		t.Error(err)
	}
}
