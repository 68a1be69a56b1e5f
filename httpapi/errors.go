package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/ingest"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/recordbatch"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/reader"
)

// Every code that a client can get, with its status. A 4xx says that nothing
// happened and that the same request will not fare better, unless it says
// otherwise.
var (
	kindInvalidJSON       = refused("invalid_json", 400, "The body is not the JSON that is expected here")
	kindInvalidRecord     = refused("invalid_record", 400, "A record is malformed")
	kindInvalidParameter  = refused("invalid_parameter", 400, "A query or path parameter is malformed")
	kindInvalidHeader     = refused("invalid_header", 400, "A request header is malformed")
	kindInvalidTopicName  = refused("invalid_topic_name", 400, "The topic name is not allowed")
	kindInvalidGroupName  = refused("invalid_group_name", 400, "The group name is not allowed")
	kindInvalidMemberID   = refused("invalid_member_id", 400, "The member id is not allowed")
	kindInvalidConfig     = refused("invalid_config", 400, "A topic setting is not allowed")
	kindInvalidPartitions = refused("invalid_partitions", 400, "The number of partitions is not allowed")
	kindInvalidBody       = refused("invalid_body", 400, "The body ended early or is wrongly framed")
	kindInvalidEncoding   = refused("invalid_encoding", 400, "The body is not what its content encoding says")
	kindNoRecords         = refused("no_records", 400, "The request holds no records")
	kindNeedsAcksAll      = refused("needs_acks_all", 400, "The request needs acks=all")
	kindNeedsPartition    = refused("needs_partition", 400, "The request must name a partition in its path")
	kindNoWAL             = refused("acks_one_not_offered", 400, "The node offers acks=all only")

	kindBatchTruncated    = refused("batch_truncated", 400, "A record batch is cut off")
	kindBatchMagic        = refused("batch_magic", 400, "A record batch is not of version 2")
	kindBatchCRC          = refused("batch_crc", 400, "A record batch does not match its CRC")
	kindBatchCount        = refused("batch_count", 400, "A record batch does not hold the number of records that it states")
	kindBatchOffsetDeltas = refused("batch_offset_deltas", 400, "The offset deltas of a record batch are not 0, 1, 2, …")
	kindBatchTimestamps   = refused("batch_timestamps", 400, "The max timestamp of a record batch is not that of its records")
	kindBatchCodec        = refused("batch_codec", 400, "A record batch is compressed in an unknown way")
	kindBatchControl      = refused("batch_control", 400, "Control and transactional batches are not accepted")
	kindBatchMalformed    = refused("batch_malformed", 400, "A record batch is malformed")

	kindProducerFenced   = refused("producer_fenced", 403, "The producer's epoch is stale")
	kindUnknownProducer  = refused("unknown_producer_id", 403, "The producer id was never given out, or has expired")
	kindNotFound         = refused("not_found", 404, "There is no such resource")
	kindTopicNotFound    = refused("topic_not_found", 404, "There is no such topic")
	kindGroupNotFound    = refused("group_not_found", 404, "There is no such group")
	kindPartNotFound     = refused("partition_not_found", 404, "There is no such partition")
	kindMethodNotAllowed = refused("method_not_allowed", 405, "The resource does not have this method")
	kindNotAcceptable    = refused("not_acceptable", 406, "None of the acceptable media types is offered")
	kindSlowBody         = retry(refused("slow_body", 408, "The body came too slowly"))
	kindTopicExists      = refused("topic_exists", 409, "The topic exists with other settings")
	kindPartitionsShrink = refused("partitions_shrink", 409, "Partitions cannot become fewer")
	kindOutOfOrder       = refused("out_of_order_sequence", 409, "The producer's sequence has a gap")
	kindRebalance        = retry(refused("rebalance_in_progress", 409, "The member's partitions have changed"))
	kindGroupStrategy    = refused("group_strategy_mismatch", 409, "The group has another strategy")
	kindGroupNotEmpty    = refused("group_not_empty", 409, "The group has members")
	kindFeatureLevel     = refused("feature_level_too_low", 409, "The catalog's feature level is too low")
	kindOffsetTrimmed    = refused("offset_below_start", 410, "The records at this offset are gone")
	kindMemberFenced     = refused("member_fenced", 410, "The member is not in the group any more")
	kindOffsetMismatch   = refused("offset_mismatch", 412, "The first record would not get the expected offset")
	kindTokenMismatch    = refused("fencing_token_mismatch", 412, "The partition has another fencing token")
	kindBodyTooLarge     = refused("body_too_large", 413, "The body is over the limit")
	kindRecordTooLarge   = refused("record_too_large", 413, "A record is over the limit")
	kindBatchTooLarge    = refused("batch_too_large", 413, "A record batch is over the limit")
	kindTooManyRecords   = refused("too_many_records", 413, "The request holds too many records")
	kindManyPartitions   = refused("too_many_partitions", 413, "The member has too many partitions")
	kindMediaType        = refused("unsupported_media_type", 415, "The body's media type is not taken here")
	kindContentEncoding  = refused("unsupported_content_encoding", 415, "The body's content encoding is not taken here")
	kindOffsetAboveEnd   = retry(refused("offset_above_end", 416, "The offset is above the end"))

	kindKeyReused   = refused("idempotency_key_reused", 422, "The idempotency key was used for another request")
	kindTooManyKeys = retry(refused("too_many_idempotency_keys", 429, "Too many idempotency keys are remembered"))
	kindGroupFull   = retry(refused("group_full", 429, "The group has as many members or topics as it may"))

	kindOverloaded      = retry(refused("overloaded", 503, "The node cannot take the request at the moment"))
	kindNotReady        = retry(refused("not_ready", 503, "The node is not ready"))
	kindNotConfirmed    = retry(refused("not_confirmed", 503, "The node cannot tell at the moment"))
	kindNotIngest       = retry(refused("not_ingest", 503, "The node does not take records"))
	kindNotReader       = retry(refused("not_reader", 503, "The node does not serve records"))
	kindCatalogFull     = retry(refused("catalog_full", 503, "The catalog is at its limit"))
	kindStore           = retry(refused("store_unavailable", 503, "The object store does not answer as it should"))
	kindTimeout         = retry(refused("timeout", 503, "The request was not carried out in time"))
	kindSettingsChanged = retry(refused("settings_changed", 503, "The topic's settings have just changed"))
	kindNotCommitted    = retry(refused("not_committed", 503, "The records were not committed"))
	kindUnknown         = kind{code: "outcome_unknown", status: 504, title: "Whether the request took effect is unknown", retryable: true}
	kindCorrupt         = kind{code: "corrupt_data", status: 500, title: "Stored bytes are not what was written", noSideEffects: true}
	kindInternal        = kind{code: "internal", status: 500, title: "The node failed"}
	kindClientWentOff   = kind{code: "client_closed_request", status: 499, title: "The client closed the request"}
)

func refused(code string, status int, title string) kind {
	return kind{code: code, status: status, title: title, noSideEffects: true}
}

func retry(k kind) kind {
	k.retryable = true
	return k
}

// whatIsWrong is the code of each reason of a *recordbatch.InvalidError.
var whatIsWrong = []struct {
	err  error
	kind kind
}{
	{recordbatch.ErrTruncated, kindBatchTruncated},
	{recordbatch.ErrMagic, kindBatchMagic},
	{recordbatch.ErrCRC, kindBatchCRC},
	{recordbatch.ErrCount, kindBatchCount},
	{recordbatch.ErrOffsetDeltas, kindBatchOffsetDeltas},
	{recordbatch.ErrTimestamps, kindBatchTimestamps},
	{recordbatch.ErrCodec, kindBatchCodec},
	{recordbatch.ErrControl, kindBatchControl},
}

// toProblem says what a client gets to see of an error. retryAfter is for the
// 503s whose error does not bring its own.
func toProblem(err error, retryAfter time.Duration) *problem {
	// Unknown goes first: whatever else the error wraps, it must not be
	// reported as a failure without effect.
	if errors.Is(err, ingest.ErrOutcomeUnknown) || errors.Is(err, catalog.ErrUnknownOutcome) {
		return kindUnknown.newf("the outcome is not known; to repeat the request is safe, but for records without a producer id or an Idempotency-Key").because(err)
	}
	var p *problem
	if errors.As(err, &p) {
		if p.status == http.StatusServiceUnavailable && p.retryAfter == 0 {
			p.retryAfter = retryAfter
		}
		return p
	}
	for _, convert := range []func(error) *problem{groupProblem, catalogProblem, batchProblem, ingestProblem, readProblem} {
		if p := convert(err); p != nil {
			if p.status == http.StatusServiceUnavailable && p.retryAfter == 0 {
				p.retryAfter = retryAfter
			}
			return p
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return kindTimeout.newf("the request was given up before anything was committed").after(retryAfter).because(err)
	case errors.Is(err, context.Canceled):
		return kindClientWentOff.newf("the client closed the connection").because(err)
	}
	return kindInternal.newf("the node failed; its log says more under the request id").because(err)
}

// keysRetryAfter is when to come back with an idempotency key for which there
// was no room: they go one by one, a day after they came.
const keysRetryAfter = time.Minute

func ingestProblem(err error) *problem {
	var overloaded *ingest.OverloadedError
	switch {
	case errors.As(err, &overloaded):
		return kindOverloaded.newf("%s", overloaded.Reason).with("reason", overloaded.Reason).after(overloaded.RetryAfter)
	case errors.Is(err, ingest.ErrNeedsAcksAll):
		return kindNeedsAcksAll.newf("%v", ingest.ErrNeedsAcksAll)
	case errors.Is(err, ingest.ErrTwoKeys):
		return headerf("Idempotency-Key", "does not go with a producer id, which makes the request idempotent by itself")
	case errors.Is(err, ingest.ErrNoWAL):
		return kindNoWAL.newf("%v", ingest.ErrNoWAL)
	case errors.Is(err, ingest.ErrNoRecords):
		return kindNoRecords.newf("the request holds no records")
	case errors.Is(err, ingest.ErrNotCommitted):
		return kindNotCommitted.newf("%v", ingest.ErrNotCommitted).because(err)
	case errors.Is(err, ingest.ErrNotIngest):
		return kindNotIngest.newf("%v; another node may", ingest.ErrNotIngest)
	}
	return nil
}

func catalogProblem(err error) *problem {
	var (
		sequence *catalog.SequenceError
		offset   *catalog.OffsetError
		fence    *catalog.FenceError
		level    *catalog.FeatureLevelError
		setting  *catalog.ConfigError
		order    *catalog.CommitOrderError
		invalid  *catalog.InvalidError
	)
	switch {
	case errors.Is(err, catalog.ErrTopicNotFound):
		return kindTopicNotFound.newf("the topic does not exist")
	case errors.Is(err, catalog.ErrPartitionNotFound):
		return kindPartNotFound.newf("the topic does not have this partition")
	case errors.Is(err, catalog.ErrTopicExists):
		return kindTopicExists.newf("%v", catalog.ErrTopicExists)
	case errors.Is(err, catalog.ErrPartitionsShrink):
		return kindPartitionsShrink.newf("%v", catalog.ErrPartitionsShrink)
	case errors.Is(err, catalog.ErrUnknownProducer):
		return kindUnknownProducer.newf("%v", catalog.ErrUnknownProducer)
	case errors.Is(err, catalog.ErrProducerFenced):
		return kindProducerFenced.newf("%v", catalog.ErrProducerFenced)
	case errors.As(err, &sequence):
		return outOfOrder(sequence.Expected)
	case errors.As(err, &offset):
		return kindOffsetMismatch.newf("the next record gets offset %d", offset.End).with("end_offset", int64(offset.End))
	case errors.As(err, &fence):
		p := kindTokenMismatch.newf("%v", fence)
		if fence.Token == "" {
			return p.with("token", nil)
		}
		return p.with("token", fence.Token)
	case errors.Is(err, catalog.ErrKeyReused):
		return kindKeyReused.newf("%v", catalog.ErrKeyReused)
	case errors.Is(err, catalog.ErrTooManyKeys):
		return kindTooManyKeys.newf("%v", catalog.ErrTooManyKeys).with("limit", int64(catalog.RequestKeysMax)).after(keysRetryAfter)
	case errors.As(err, &level):
		return kindFeatureLevel.newf("%v", level).with("needed", int64(level.Needed)).with("level", int64(level.Level))
	case errors.As(err, &setting):
		return kindInvalidConfig.newf("%s=%s: %s", setting.Key, setting.Value, setting.Reason).with("key", setting.Key)
	case errors.Is(err, catalog.ErrCatalogFull):
		return kindCatalogFull.newf("%v", catalog.ErrCatalogFull)
	case errors.Is(err, catalog.ErrBusy):
		return kindOverloaded.newf("%v", catalog.ErrBusy).with("reason", "catalog busy")
	case errors.Is(err, catalog.ErrNotReady):
		return kindNotReady.newf("%v", catalog.ErrNotReady)
	case errors.Is(err, catalog.ErrNotConfirmed):
		return kindNotConfirmed.newf("%v", catalog.ErrNotConfirmed).because(err)
	case errors.As(err, &invalid) && invalid.Reason == catalog.InvalidTopicName:
		return kindInvalidTopicName.newf("%v", invalid)
	case errors.As(err, &invalid) && invalid.Reason == catalog.InvalidPartitionCount:
		return kindInvalidPartitions.newf("%v", invalid)
	case errors.As(err, &invalid) && invalid.Reason == catalog.InvalidConfig:
		return kindInvalidConfig.newf("%v", invalid)
	case errors.As(err, &order), errors.Is(err, catalog.ErrUnknownNode), errors.Is(err, catalog.ErrOrphanFloor),
		errors.Is(err, catalog.ErrObjectExists), errors.Is(err, catalog.ErrNotCommitted):
		// The node's own business with the catalog; the client did nothing wrong.
		return kindNotCommitted.newf("the catalog refused the node's commit; nothing was stored").because(err)
	}
	return nil
}

// groupFullRetryAfter is when to come back to a group that is full: members
// leave, or are removed when they were silent for their session timeout.
const groupFullRetryAfter = 10 * time.Second

// groupFull says of what a group has as many as it may.
func groupFull(what string, limit int64) *problem {
	return kindGroupFull.newf("a group has at most %d %s", limit, what).with("limit", limit).after(groupFullRetryAfter)
}

func groupProblem(err error) *problem {
	var (
		rebalance *catalog.RebalanceError
		above     *catalog.CommitOffsetError
		invalid   *catalog.InvalidError
	)
	switch {
	case errors.Is(err, catalog.ErrGroupNotFound):
		return kindGroupNotFound.newf("the group does not exist")
	case errors.Is(err, catalog.ErrGroupNotEmpty):
		return kindGroupNotEmpty.newf("%v", catalog.ErrGroupNotEmpty)
	case errors.Is(err, catalog.ErrGroupStrategy):
		return kindGroupStrategy.newf("%v", catalog.ErrGroupStrategy)
	case errors.Is(err, catalog.ErrGroupFull):
		return groupFull("members", catalog.GroupMembersMax)
	case errors.Is(err, catalog.ErrMemberFenced):
		return kindMemberFenced.newf("%v; join again", catalog.ErrMemberFenced)
	case errors.As(err, &rebalance):
		return kindRebalance.newf("%v", rebalance).with("epoch", rebalance.Epoch)
	case errors.Is(err, catalog.ErrCommitOvertaken):
		return kindNotCommitted.newf("another request of the member committed offsets meanwhile; nothing was done")
	case errors.As(err, &above):
		return kindOffsetAboveEnd.newf("%v", above).with("end", int64(above.End))
	case errors.As(err, &invalid) && (invalid.Reason == catalog.InvalidGroup || invalid.Reason == catalog.InvalidGroupOffset):
		return kindInvalidJSON.newf("%v", invalid)
	}
	return nil
}

func batchProblem(err error) *problem {
	var (
		large   *recordbatch.TooLargeError
		invalid *recordbatch.InvalidError
	)
	switch {
	case errors.As(err, &large):
		k := kindBatchTooLarge
		if large.What == "record" {
			k = kindRecordTooLarge
		}
		p := k.newf("%v", large).with("limit", large.Limit)
		if errors.As(err, &invalid) {
			p.with("batch_pos", int64(invalid.Pos))
		}
		return p
	case errors.Is(err, recordbatch.ErrTooLarge):
		return kindBatchTooLarge.newf("the records of the request are over the node's limit").because(err)
	case errors.As(err, &invalid):
		for _, w := range whatIsWrong {
			if errors.Is(invalid, w.err) {
				return w.kind.newf("%v", invalid).with("batch_pos", int64(invalid.Pos))
			}
		}
		return kindBatchMalformed.newf("%v", invalid).with("batch_pos", int64(invalid.Pos))
	}
	return nil
}

func readProblem(err error) *problem {
	var (
		outOfRange *reader.OutOfRangeError
		corrupt    *segment.CorruptError
		store      *objstore.Error
	)
	switch {
	case errors.Is(err, reader.ErrNotReader):
		return kindNotReader.newf("%v; another node may", reader.ErrNotReader)
	case errors.As(err, &outOfRange):
		k := kindOffsetAboveEnd
		if outOfRange.Below() {
			k = kindOffsetTrimmed
		}
		return k.newf("%v", outOfRange).
			with("offset", int64(outOfRange.Offset)).
			with("log_start_offset", int64(outOfRange.Bounds.Start)).
			with("high_watermark", int64(outOfRange.Bounds.End))
	case errors.As(err, &corrupt):
		return kindCorrupt.newf("the records cannot be served").because(err)
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrInvalidRange):
		return kindCorrupt.newf("the records cannot be served").because(err)
	case errors.As(err, &store):
		// Only reads reach this place with the store's own error: what a write
		// ran into is an outcome of ingest or the catalog.
		return kindStore.newf("the object store failed a request").because(err)
	}
	return nil
}

func outOfOrder(expected int32) *problem {
	text := itoa(int64(expected))
	return kindOutOfOrder.newf("the next sequence is %s", text).
		with("expected_seq", int64(expected)).
		withHeader("Producer-Expected-Seq", text)
}
