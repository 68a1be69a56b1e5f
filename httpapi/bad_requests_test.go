package httpapi

import (
	"testing"
	"time"

	"github.com/wadilog/wadi/httpapi/apitest"
)

func TestBadRequests(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.BodyGrace = 300 * time.Millisecond })
	apitest.Run(t, a.url)
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	if a.node.reserved != 0 {
		t.Errorf("%d bytes of the budget were not given back", a.node.reserved)
	}
}
