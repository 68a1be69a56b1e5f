package catalog

import "fmt"

// appendForwarded encodes the edits of proposals, without results. The layouts
// are for decodeOutcomes.
func appendForwarded(dst []byte, proposals []*Proposal) ([]byte, []*commitLayout) {
	layouts := make([]*commitLayout, len(proposals))
	dst = appendUvarint(dst, uint64(len(proposals)))
	for i, p := range proposals {
		dst, layouts[i] = appendBareEdit(dst, p.edit)
	}
	return dst, layouts
}

// decodeForwarded is the inverse of appendForwarded. The layouts are for
// appendOutcomes.
func decodeForwarded(b []byte) ([]*Proposal, []*commitLayout, error) {
	r := &wireReader{b: b}
	n := r.count(1)
	if n == 0 {
		r.fail(errOutOfRange)
	}
	proposals := make([]*Proposal, 0, min(n, editsPrealloc))
	layouts := make([]*commitLayout, 0, min(n, editsPrealloc))
	for range n {
		edit, layout := r.bareEdit()
		if r.err != nil {
			break
		}
		p := newProposal(edit)
		if p.size > entryPayloadMax {
			return nil, nil, ErrEditTooLarge
		}
		proposals = append(proposals, p)
		layouts = append(layouts, layout)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail(errTrailing)
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("decode forwarded edit %d of %d: %w", len(proposals), n, r.err)
	}
	return proposals, layouts, nil
}

// appendOutcomes encodes the results of edits that were forwarded.
func appendOutcomes(dst []byte, results []Result, layouts []*commitLayout) []byte {
	for i := range results {
		dst = appendResult(dst, &results[i], layouts[i])
	}
	return dst
}

// decodeOutcomes is the inverse of appendOutcomes.
func decodeOutcomes(b []byte, layouts []*commitLayout) ([]Result, error) {
	r := &wireReader{b: b}
	results := make([]Result, len(layouts))
	for i := range results {
		results[i] = r.result(layouts[i])
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail(errTrailing)
	}
	if r.err != nil {
		return nil, fmt.Errorf("decode the outcomes of forwarded edits: %w", r.err)
	}
	return results, nil
}
