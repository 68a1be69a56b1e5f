package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/reader"
)

func TestEveryErrorHasItsProblem(t *testing.T) {
	invalid := func(err error) error { return &recordbatch.InvalidError{Pos: 7, Err: err} }
	store := func(err error) error {
		return &objstore.Error{Op: "get", Key: "k", Outcome: objstore.NotCommitted, Err: err}
	}
	for _, c := range []struct {
		err     error
		status  int
		code    string
		again   bool // retryable
		clean   bool // no side effects
		members map[string]any
	}{
		{ingest.ErrOutcomeUnknown, 504, "outcome_unknown", true, false, nil},
		{catalog.ErrUnknownOutcome, 504, "outcome_unknown", true, false, nil},
		{fmt.Errorf("%w: %w", ingest.ErrOutcomeUnknown, catalog.ErrTopicNotFound), 504, "outcome_unknown", true, false, nil},
		{fmt.Errorf("%w: %w", ingest.ErrOutcomeUnknown, context.DeadlineExceeded), 504, "outcome_unknown", true, false, nil},
		{fmt.Errorf("%w: %w", catalog.ErrTopicNotFound, catalog.ErrUnknownOutcome), 504, "outcome_unknown", true, false, nil},
		{&ingest.OverloadedError{Reason: "buffers full", RetryAfter: time.Second}, 503, "overloaded", true, true, map[string]any{"reason": "buffers full"}},
		{ingest.ErrNotCommitted, 503, "not_committed", true, true, nil},
		{fmt.Errorf("%w: %w", ingest.ErrNotCommitted, context.DeadlineExceeded), 503, "not_committed", true, true, nil},
		{ingest.ErrNeedsAcksAll, 400, "needs_acks_all", false, true, nil},
		{ingest.ErrTwoKeys, 400, "invalid_header", false, true, nil},
		{ingest.ErrNoWAL, 400, "acks_one_not_offered", false, true, nil},
		{ingest.ErrNoRecords, 400, "no_records", false, true, nil},
		{ingest.ErrNotIngest, 503, "not_ingest", true, true, nil},
		{reader.ErrNotReader, 503, "not_reader", true, true, nil},

		{catalog.ErrTopicNotFound, 404, "topic_not_found", false, true, nil},
		{catalog.ErrPartitionNotFound, 404, "partition_not_found", false, true, nil},
		{catalog.ErrTopicExists, 409, "topic_exists", false, true, nil},
		{catalog.ErrPartitionsShrink, 409, "partitions_shrink", false, true, nil},
		{catalog.ErrUnknownProducer, 403, "unknown_producer_id", false, true, nil},
		{catalog.ErrProducerFenced, 403, "producer_fenced", false, true, nil},
		{&catalog.SequenceError{Expected: 5}, 409, "out_of_order_sequence", false, true, map[string]any{"expected_seq": 5.0}},
		{&catalog.OffsetError{End: 42}, 412, "offset_mismatch", false, true, map[string]any{"end_offset": 42.0}},
		{&catalog.FenceError{Token: "a"}, 412, "fencing_token_mismatch", false, true, map[string]any{"token": "a"}},
		{&catalog.FenceError{}, 412, "fencing_token_mismatch", false, true, map[string]any{"token": nil}},
		{catalog.ErrKeyReused, 422, "idempotency_key_reused", false, true, nil},
		{catalog.ErrTooManyKeys, 429, "too_many_idempotency_keys", true, true, map[string]any{"limit": 1e6}},
		{&catalog.FeatureLevelError{Needed: 2, Level: 1}, 409, "feature_level_too_low", false, true, map[string]any{"needed": 2.0, "level": 1.0}},
		{&catalog.ConfigError{Key: "k", Value: "v", Reason: "r"}, 400, "invalid_config", false, true, map[string]any{"key": "k"}},
		{&catalog.InvalidError{Reason: catalog.InvalidTopicName}, 400, "invalid_topic_name", false, true, nil},
		{&catalog.InvalidError{Reason: catalog.InvalidPartitionCount}, 400, "invalid_partitions", false, true, nil},
		{&catalog.InvalidError{Reason: catalog.InvalidConfig}, 400, "invalid_config", false, true, nil},
		{catalog.ErrCatalogFull, 503, "catalog_full", true, true, nil},
		{catalog.ErrBusy, 503, "overloaded", true, true, nil},
		{catalog.ErrNotReady, 503, "not_ready", true, true, nil},
		{catalog.ErrNotConfirmed, 503, "not_confirmed", true, true, nil},
		{fmt.Errorf("%w: %w", catalog.ErrNotConfirmed, context.Canceled), 503, "not_confirmed", true, true, nil},
		{catalog.ErrNotCommitted, 503, "not_committed", true, true, nil},
		{&catalog.CommitOrderError{Last: 1}, 503, "not_committed", true, true, nil},
		{catalog.ErrUnknownNode, 503, "not_committed", true, true, nil},
		{catalog.ErrOrphanFloor, 503, "not_committed", true, true, nil},
		{catalog.ErrObjectExists, 503, "not_committed", true, true, nil},

		{catalog.ErrGroupNotFound, 404, "group_not_found", false, true, nil},
		{catalog.ErrGroupNotEmpty, 409, "group_not_empty", false, true, nil},
		{catalog.ErrGroupStrategy, 409, "group_strategy_mismatch", false, true, nil},
		{catalog.ErrGroupFull, 429, "group_full", true, true, map[string]any{"limit": 1000.0}},
		{catalog.ErrMemberFenced, 410, "member_fenced", false, true, nil},
		{&catalog.RebalanceError{Epoch: 7}, 409, "rebalance_in_progress", true, true, map[string]any{"epoch": 7.0}},
		{&catalog.CommitOffsetError{Index: 1, End: 9}, 416, "offset_above_end", true, true, map[string]any{"end": 9.0}},
		{&catalog.CommitPartitionError{Err: catalog.ErrPartitionNotFound}, 404, "partition_not_found", false, true, nil},
		{&catalog.InvalidError{Reason: catalog.InvalidGroup}, 400, "invalid_json", false, true, nil},
		{&catalog.InvalidError{Reason: catalog.InvalidGroupOffset}, 400, "invalid_json", false, true, nil},
		{fmt.Errorf("%w: %w", catalog.ErrNotConfirmed, catalog.ErrUnknownOutcome), 504, "outcome_unknown", true, false, nil},

		{invalid(recordbatch.ErrTruncated), 400, "batch_truncated", false, true, map[string]any{"batch_pos": 7.0}},
		{invalid(recordbatch.ErrMagic), 400, "batch_magic", false, true, nil},
		{invalid(recordbatch.ErrCRC), 400, "batch_crc", false, true, nil},
		{invalid(recordbatch.ErrCount), 400, "batch_count", false, true, nil},
		{invalid(recordbatch.ErrOffsetDeltas), 400, "batch_offset_deltas", false, true, nil},
		{invalid(recordbatch.ErrTimestamps), 400, "batch_timestamps", false, true, nil},
		{invalid(recordbatch.ErrCodec), 400, "batch_codec", false, true, nil},
		{invalid(recordbatch.ErrControl), 400, "batch_control", false, true, nil},
		{invalid(fmt.Errorf("%w: detail", recordbatch.ErrMalformed)), 400, "batch_malformed", false, true, nil},
		{invalid(errors.New("another")), 400, "batch_malformed", false, true, nil},
		{invalid(&recordbatch.TooLargeError{What: "batch", Bytes: 9, Limit: 8}), 413, "batch_too_large", false, true, map[string]any{"limit": 8.0, "batch_pos": 7.0}},
		{invalid(&recordbatch.TooLargeError{What: "decompressed batch", Bytes: 9, Limit: 8}), 413, "batch_too_large", false, true, map[string]any{"limit": 8.0}},
		{&recordbatch.TooLargeError{What: "record", Bytes: 9, Limit: 8}, 413, "record_too_large", false, true, map[string]any{"limit": 8.0}},
		{fmt.Errorf("write-ahead buffer: %w", recordbatch.ErrTooLarge), 413, "batch_too_large", false, true, nil},

		{&reader.OutOfRangeError{Offset: 1, Bounds: reader.Bounds{Start: 2, End: 9}}, 410, "offset_below_start", false, true, map[string]any{"offset": 1.0, "log_start_offset": 2.0, "high_watermark": 9.0}},
		{&reader.OutOfRangeError{Offset: 10, Bounds: reader.Bounds{Start: 2, End: 9}}, 416, "offset_above_end", true, true, map[string]any{"log_start_offset": 2.0, "high_watermark": 9.0}},
		{&segment.CorruptError{Key: "k", Err: errors.New("crc")}, 500, "corrupt_data", false, true, nil},
		{store(objstore.ErrNotFound), 500, "corrupt_data", false, true, nil},
		{store(objstore.ErrInvalidRange), 500, "corrupt_data", false, true, nil},
		{store(objstore.ErrUnavailable), 503, "store_unavailable", true, true, nil},
		{store(objstore.ErrThrottled), 503, "store_unavailable", true, true, nil},

		{context.DeadlineExceeded, 503, "timeout", true, true, nil},
		{context.Canceled, 499, "client_closed_request", false, false, nil},
		{errors.New("secret"), 500, "internal", false, false, nil},
		{kindNotReady.newf("draining"), 503, "not_ready", true, true, nil},
	} {
		for _, err := range []error{c.err, fmt.Errorf("commit: %w", c.err)} {
			p := toProblem(err, 3*time.Second)
			var got map[string]any
			if err := json.Unmarshal(p.appendJSON(nil), &got); err != nil {
				t.Fatal(err)
			}
			if p.status != c.status || got["code"] != c.code || got["retryable"] != c.again || got["no_side_effects"] != c.clean {
				t.Errorf("%v became %s", err, p.appendJSON(nil))
			}
			for name, want := range c.members {
				if got[name] != want {
					t.Errorf("%v: %s is %v, want %v", err, name, got[name], want)
				}
			}
			h := http.Header{}
			p.setHeaders(h)
			if has := h.Get("Retry-After") != ""; has != (c.status == 503 || c.status == 429) {
				t.Errorf("%v: Retry-After %q", err, h.Get("Retry-After"))
			}
			if c.code == "internal" && slices.Contains([]string{"", "secret"}, p.detail) {
				t.Errorf("detail %q", p.detail)
			}
		}
	}
}

func TestProblemHeaders(t *testing.T) {
	h := http.Header{}
	toProblem(&ingest.OverloadedError{Reason: "store away", RetryAfter: 1100 * time.Millisecond}, time.Minute).setHeaders(h)
	if got := h.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %s, want it rounded up", got)
	}
	toProblem(&catalog.SequenceError{Expected: 17}, time.Minute).setHeaders(h)
	if got := h.Get("Producer-Expected-Seq"); got != "17" {
		t.Errorf("Producer-Expected-Seq %q", got)
	}
}
