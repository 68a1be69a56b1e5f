package linear_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// groupRun is how long members come and go.
	groupRun = 60 * time.Second
	// settlesWithin is the longest time from the last change to a stable group.
	settlesWithin = 10 * time.Second
)

// TestGroups has four members share eight partitions, killed and restarted at
// random while records are produced, with nodes that are well and with nodes that
// fail in every way. Each partition has one owner at a time, and every record is
// processed.
func TestGroups(t *testing.T) {
	told := map[string]int{} // in all worlds
	for seed := range uint64(4) {
		faults := seed%2 == 1
		t.Run(fmt.Sprintf("seed=%d,faults=%t", seed, faults), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGroupWorld(t, seed, faults)
				w.run()
				for what, n := range w.ledger.counts {
					told[what] += n
				}
			})
		})
	}
	for _, what := range []string{"killed", "409 rebalance_in_progress", "410 member_fenced"} {
		if told[what] == 0 {
			t.Errorf("it never came to %s", what)
		}
	}
}

// TestGroupThroughAnyNode sends each request to another node than the one before.
func TestGroupThroughAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 3, false)
		if len(w.nodes) < 3 {
			t.Fatalf("%d nodes", len(w.nodes))
		}
		next := 0
		ask := func(method, path, body string, status int, want string) {
			t.Helper()
			next++
			request, err := http.NewRequest(method, w.load.Nodes[next%len(w.nodes)]+path, bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			if body != "" {
				request.Header.Set("Content-Type", "application/json")
			}
			response, err := w.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != status || !strings.Contains(string(text), want) {
				t.Fatalf("%s %s: %d %s, %v; expected %d with %s", method, path, response.StatusCode, text, err, status, want)
			}
		}
		const g, records = "/v1/groups/g", "/v1/topics/" + groupTopic + "/partitions/0/records"
		all := `"assignment":[{"topic":"shared","partitions":[0,1,2,3,4,5,6,7]}]`
		ask("POST", records, `{"records":[{"value":"a"},{"value":"b"}]}`, 200, `"base_offset":0`)
		ask("POST", g+"/members", `{"topics":["shared"],"member_id":"m"}`, 201, `"epoch":1,"strategy":"cooperative-sticky","session_timeout_ms":30000,`+all)
		ask("POST", g+"/members/m:poll", `{"epoch":1}`, 200, `"value":"b","headers":[]}],"next_offset":2`)
		ask("PUT", g+"/offsets", `{"member_id":"m","epoch":1,"offsets":[{"topic":"shared","partition":0,"offset":1}]}`, 204, "")
		ask("GET", g+"/offsets", "", 200, `{"topic":"shared","partition":0,"offset":1,"metadata":"",`)
		ask("POST", g+"/members/m:poll", `{"epoch":1}`, 200, `"records":[{"offset":1,`)
		ask("POST", g+"/members", `{"topics":["shared"],"member_id":"n"}`, 201, `"epoch":2,"strategy":"cooperative-sticky","session_timeout_ms":30000,"assignment":[]`)
		ask("POST", g+"/members/m:heartbeat", `{"epoch":1}`, 409, `"epoch":2,"assignment":[{"topic":"shared","partitions":[0,1,2,3]}],"revoked":[{"topic":"shared","partitions":[4,5,6,7]}]`)
		ask("POST", g+"/members/m:poll", `{"epoch":2,"commit":[{"topic":"shared","partition":0,"offset":2}]}`, 200, `{"epoch":2,"partitions":[{"topic":"shared","partition":0,"records":[],"next_offset":2,`)
		ask("POST", g+"/members/n:heartbeat", `{"epoch":3}`, 200, `{"epoch":3,"assignment":[{"topic":"shared","partitions":[4,5,6,7]}]}`)
		ask("GET", g, "", 200, `"state":"stable"`)
		ask("DELETE", g+"/members/m?epoch=2", "", 204, "")
		ask("POST", g+"/members/m:poll", `{"epoch":2}`, 410, `"member_fenced"`)
		ask("POST", g+"/members/n:heartbeat", `{"epoch":4}`, 200, all)
		// One that is silent is removed, whichever node it spoke to.
		time.Sleep(40 * time.Second)
		ask("GET", g, "", 200, `"state":"empty"`)
		ask("DELETE", g, "", 204, "")
		ask("GET", g, "", 404, `"group_not_found"`)
		for _, n := range w.nodes {
			n.Retire(w.rng, time.Minute)
		}
		w.network.Close()
	})
}

// groupWorld is a world whose load is a group.
type groupWorld struct {
	*world
	faults bool
	ledger *groupLedger
}

func newGroupWorld(t *testing.T, seed uint64, faults bool) *groupWorld {
	w := &groupWorld{world: newWorld(t, seed), faults: faults, ledger: newGroupLedger(t)}
	w.request(http.MethodPut, "/v1/topics/"+groupTopic, fmt.Sprintf(`{"partitions":%d}`, groupPartitions), nil)
	return w
}

func (w *groupWorld) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var nemesis sync.WaitGroup
	if w.faults {
		for _, n := range w.nodes {
			w.spoil(n)
		}
		w.door.SetLoss(0.01)
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 15))
		nemesis.Go(func() { w.haunt(ctx, rng) })
	}
	var producing sync.WaitGroup
	for p := range groupPartitions {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 16))
		producing.Go(func() { w.produce(ctx, p, rng) })
	}
	members := sync.WaitGroup{}
	alive, end := context.WithCancel(context.Background())
	for i := range groupMembers {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 17))
		members.Go(func() { w.liveAndDie(ctx, alive, i, rng) })
	}
	time.Sleep(groupRun)
	cancel()
	nemesis.Wait()
	if w.faults {
		w.mend()
	}
	producing.Wait()
	w.settle()
	end()
	members.Wait()
	w.t.Logf("%d moves of partitions; %v", w.ledger.moves, w.ledger.counts)
	for _, n := range w.nodes {
		n.Retire(w.rng, time.Minute)
	}
	w.network.Close()
}

// mend ends all faults; every node is up.
func (w *groupWorld) mend() {
	w.door.SetLoss(0)
	w.network.Reset()
	for _, n := range w.nodes {
		n.Store.Reset()
		n.Reads.Reset()
	}
	for _, n := range w.nodes {
		if n.Current() == nil {
			n.Start(w.rng)
		}
		<-n.Current().Ingester.Ready()
	}
}

// liveAndDie gives a member one life after another until ctx ends, and its last one
// until alive ends. Some come back under their old id.
func (w *groupWorld) liveAndDie(ctx, alive context.Context, i int, rng *rand.Rand) {
	name := ""
	for life := 0; ; life++ {
		if life == 0 || rng.IntN(2) == 0 {
			name = fmt.Sprintf("member-%d.%d", i, life)
		}
		g := &groupProcess{w: w.world, ledger: w.ledger, name: name, rng: rand.New(rand.NewPCG(rng.Uint64(), 18))}
		running, kill := context.WithCancel(alive)
		timer := time.AfterFunc(time.Duration(1000+rng.IntN(12_000))*time.Millisecond, func() {
			if ctx.Err() == nil { // the last life is not ended by this
				kill()
			}
		})
		g.run(running)
		timer.Stop()
		kill()
		if alive.Err() != nil {
			return
		}
		w.ledger.told("killed")
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
	}
}

// produce appends records to a partition until ctx ends, whatever comes of them.
func (w *groupWorld) produce(ctx context.Context, partition int, rng *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		node := w.load.Nodes[rng.IntN(len(w.load.Nodes))]
		url := fmt.Sprintf("%s/v1/topics/%s/partitions/%d/records", node, groupTopic, partition)
		text := fmt.Sprintf("%d/%d", partition, n)
		request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader([]byte(text)))
		if err != nil {
			w.t.Error(err)
			return
		}
		request.Header.Set("Content-Type", "text/plain")
		if response, err := w.client.Do(request); err == nil {
			_ = response.Body.Close()
		}
		time.Sleep(time.Duration(20+rng.IntN(200)) * time.Millisecond)
	}
}

// description is what GET of a group answers.
type description struct {
	State      string `json:"state"`
	Members    []any  `json:"members"`
	Partitions []struct {
		Partition int    `json:"partition"`
		Committed *int64 `json:"committed"`
		End       int64  `json:"end_offset"`
		Lag       int64  `json:"lag"`
	} `json:"partitions"`
	Lag int64 `json:"lag"`
}

func (w *groupWorld) describe() (d description, ok bool) {
	response, err := w.client.Get(w.load.Nodes[0] + "/v1/groups/g")
	if err != nil {
		return d, false
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return d, false
	}
	return d, json.NewDecoder(response.Body).Decode(&d) == nil
}

// settle waits until the group is stable with all of its members, which must be
// soon, and until they have processed everything.
func (w *groupWorld) settle() {
	began := time.Now()
	stable := func() bool {
		d, ok := w.describe()
		return ok && d.State == "stable" && len(d.Members) == groupMembers
	}
	// Those that were being restarted come back within 2 s.
	for !stable() {
		if time.Since(began) > 2*time.Second+settlesWithin {
			d, ok := w.describe()
			w.t.Errorf("after %s the group is %+v, %t", time.Since(began), d, ok)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Logf("stable after %s", time.Since(began))
	done := func() (description, bool) {
		d, ok := w.describe()
		return d, ok && d.Lag == 0
	}
	for began = time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(100 * time.Millisecond) {
		d, ok := done()
		if !ok {
			continue
		}
		if len(d.Partitions) != groupPartitions {
			w.t.Errorf("%d partitions", len(d.Partitions))
		}
		total := int64(0)
		for _, p := range d.Partitions {
			total += p.End
			if offset := w.ledger.missing(p.Partition, p.End); offset >= 0 {
				w.t.Errorf("nobody processed offset %d of partition %d", offset, p.Partition)
			}
		}
		w.t.Logf("%d records are processed %s later", total, time.Since(began))
		return
	}
	d, ok := w.describe()
	text, err := json.Marshal(d)
	w.t.Errorf("the group does not catch up: %s, %t, %v", text, ok, err)
}
