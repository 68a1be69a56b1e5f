package apidoc

import "slices"

// factorOut moves what all requests, all answers or all problems have in common
// to one place, so that it is not said a hundred times.
func (r *reference) factorOut() {
	var requests, answers, problems []*[]parameter
	for _, t := range r.Tags {
		for i := range t.Operations {
			op := &t.Operations[i]
			requests = append(requests, &op.Parameters)
			for j := range op.Answers {
				a := &op.Answers[j]
				answers = append(answers, &a.Headers)
				if len(a.Codes) > 0 {
					problems = append(problems, &a.Headers)
				}
			}
		}
	}
	r.EveryRequest = takeShared(requests)
	r.EveryAnswer = takeShared(answers)
	r.EveryProblem = takeShared(problems)
}

// takeShared removes from all lists what is the same in each, and returns it.
func takeShared(lists []*[]parameter) []parameter {
	if len(lists) == 0 {
		return nil
	}
	var shared []parameter
	for _, p := range *lists[0] {
		everywhere := true
		for _, list := range lists {
			everywhere = everywhere && slices.Contains(*list, p)
		}
		if everywhere {
			shared = append(shared, p)
		}
	}
	for _, list := range lists {
		*list = slices.DeleteFunc(*list, func(p parameter) bool { return slices.Contains(shared, p) })
	}
	return shared
}
