package httpapi

import (
	"math"
	"net/http"
	"strconv"

	"github.com/wadilog/wadi/catalog"
)

// allocateProducer gives out a producer id, or the next epoch of one.
func (s *Server) allocateProducer(x *exchange) error {
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	text, err := x.readSmallBody()
	if err != nil {
		return err
	}
	var edit catalog.Edit = catalog.AllocateProducerID{}
	if len(text) > 0 {
		if err := requireJSON(x.r); err != nil {
			return err
		}
		if edit, err = decodeProducer(text); err != nil {
			return err
		}
	}
	ctx, cancel := x.working()
	defer cancel()
	result, err := s.topics.Propose(ctx, edit)
	if err != nil {
		return err
	}
	if result.Err != nil {
		return result.Err
	}
	answer := strconv.AppendInt([]byte(`{"producer_id":`), result.Producer, 10)
	answer = strconv.AppendInt(append(answer, `,"epoch":`...), result.Epoch, 10)
	x.answer(http.StatusOK, append(answer, "}\n"...))
	return nil
}

// decodeProducer reads {} or {"producer_id":…}.
func decodeProducer(text []byte) (edit catalog.Edit, err error) {
	edit = catalog.AllocateProducerID{}
	c := newCursor(text)
	err = c.object(func(name string) error {
		if name != "producer_id" {
			return c.unknown(name)
		}
		id, err := c.integer(0, math.MaxInt64)
		edit = catalog.RaiseEpoch{Producer: id}
		return err
	})
	if err == nil {
		err = c.end()
	}
	return edit, err
}
