package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/wadilog/wadi/client"
)

// fakeGroup is a consumer group of a fakeNode. Its members only stand there.
type fakeGroup struct {
	members []client.GroupMember
	offsets map[fakePlace]int64
}

type fakePlace struct {
	topic     string
	partition int32
}

func (n *fakeNode) handleGroups(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/groups", n.listGroups)
	mux.HandleFunc("GET /v1/groups/{g}", n.describeGroup)
	mux.HandleFunc("DELETE /v1/groups/{g}", n.deleteGroup)
	mux.HandleFunc("PUT /v1/groups/{g}/offsets", n.setOffsets)
}

func (g *fakeGroup) state() (string, *string) {
	if len(g.members) == 0 {
		return "empty", nil
	}
	strategy := "range"
	return "stable", &strategy
}

// listGroups lists one group on each page.
func (n *fakeNode) listGroups(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	page := []client.GroupInfo{}
	for _, name := range slices.Sorted(maps.Keys(n.groups)) {
		if name <= r.URL.Query().Get("page_token") || !strings.HasPrefix(name, r.URL.Query().Get("prefix")) {
			continue
		}
		if len(page) == 1 {
			answer(w, 200, map[string]any{"groups": page, "next_page_token": page[0].Name})
			return
		}
		info := client.GroupInfo{Name: name, Members: len(n.groups[name].members)}
		info.State, info.Strategy = n.groups[name].state()
		page = append(page, info)
	}
	answer(w, 200, map[string]any{"groups": page, "next_page_token": ""})
}

func (n *fakeNode) describeGroup(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.groups[r.PathValue("g")]
	if g == nil {
		reject(w, 404, "group_not_found", "")
		return
	}
	d := client.GroupDescription{Name: r.PathValue("g"), Epoch: 7, Members: g.members, Partitions: []client.GroupPartition{}}
	d.State, d.Strategy = g.state()
	owners := map[fakePlace]*string{}
	for i := range g.members {
		for _, t := range g.members[i].Assignment {
			for _, p := range t.Partitions {
				owners[fakePlace{t.Topic, p}] = &g.members[i].ID
			}
		}
	}
	places := slices.Collect(maps.Keys(g.offsets))
	for place := range owners {
		if _, ok := g.offsets[place]; !ok {
			places = append(places, place)
		}
	}
	slices.SortFunc(places, func(a, b fakePlace) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	for _, place := range places {
		p := n.topics[place.topic].partitions[place.partition]
		shown := client.GroupPartition{Topic: place.topic, Partition: place.partition, Member: owners[place], LogStart: p.start, End: p.end, Lag: p.end - p.start}
		if committed, ok := g.offsets[place]; ok {
			shown.Committed, shown.Lag = &committed, p.end-committed
		}
		d.Lag += shown.Lag
		d.Partitions = append(d.Partitions, shown)
	}
	answer(w, 200, d)
}

func (n *fakeNode) deleteGroup(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch g := n.groups[r.PathValue("g")]; {
	case g == nil:
		reject(w, 404, "group_not_found", "")
	case len(g.members) > 0:
		reject(w, 409, "group_not_empty", "")
	default:
		delete(n.groups, r.PathValue("g"))
		w.WriteHeader(204)
	}
}

func (n *fakeNode) setOffsets(w http.ResponseWriter, r *http.Request) {
	var body struct{ Offsets []client.GroupOffset }
	if json.NewDecoder(r.Body).Decode(&body) != nil || len(body.Offsets) == 0 {
		reject(w, 400, "invalid_json", "")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.groups[r.PathValue("g")]
	if g == nil {
		g = &fakeGroup{offsets: map[fakePlace]int64{}}
		n.groups[r.PathValue("g")] = g
	}
	for _, o := range body.Offsets {
		g.offsets[fakePlace{o.Topic, o.Partition}] = o.Offset
	}
	w.WriteHeader(204)
}
