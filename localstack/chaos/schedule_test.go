package chaos

import (
	"reflect"
	"testing"
)

func TestScheduleFollowsFromTheSeed(t *testing.T) {
	draw := func(seed uint64) []Step {
		var steps []Step
		s := NewSchedule(seed)
		for range 500 {
			steps = append(steps, s.Next())
		}
		return steps
	}
	one := draw(1)
	if !reflect.DeepEqual(one, draw(1)) {
		t.Error("the same seed gives other faults")
	}
	if reflect.DeepEqual(one, draw(2)) {
		t.Error("another seed gives the same faults")
	}
	kinds, links, leaders, together := map[FaultKind]int{}, map[LinkState]int{}, 0, 0
	for _, step := range one {
		if len(step.Faults) > 1 {
			together++
		}
		for _, f := range step.Faults {
			kinds[f.Kind]++
			links[f.Link]++
			if f.Leader {
				leaders++
			}
			if f.Kind.needsCalm() && len(step.Faults) > 1 {
				t.Errorf("%s is not alone: %v", f, step.Faults)
			}
			if cut := f.Kind == CutStore || f.Kind == CutPeers || f.Kind == CutStoreOfAll; cut != (f.Link != Open) {
				t.Errorf("%s has link %s", f, f.Link)
			}
		}
	}
	for kind := range faultKinds {
		if kinds[kind] == 0 {
			t.Errorf("500 steps without %s", kind)
		}
	}
	for _, link := range []LinkState{Reset, Blackhole, LoseAnswers, LoseRequests, Slow} {
		if links[link] == 0 {
			t.Errorf("500 steps without a link that is %s", link)
		}
	}
	if leaders == 0 || together == 0 {
		t.Errorf("%d faults of leaders, %d steps with two faults", leaders, together)
	}
}
