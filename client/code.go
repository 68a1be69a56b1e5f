package client

// Code is what a node names a problem by, and an error of its own, so that
// errors.Is finds it in what wraps an *Error.
type Code string

func (c Code) Error() string { return string(c) }

// The codes of the HTTP API, by status.
const (
	ErrInvalidJSON                Code = "invalid_json"                 // 400: the body is not the JSON that is expected here
	ErrInvalidRecord              Code = "invalid_record"               // 400: a record is malformed
	ErrInvalidParameter           Code = "invalid_parameter"            // 400: a query or path parameter is malformed
	ErrInvalidHeader              Code = "invalid_header"               // 400: a request header is malformed
	ErrInvalidTopicName           Code = "invalid_topic_name"           // 400: the topic name is not allowed
	ErrInvalidGroupName           Code = "invalid_group_name"           // 400: the group name is not allowed
	ErrInvalidMemberID            Code = "invalid_member_id"            // 400: the member id is not allowed
	ErrInvalidConfig              Code = "invalid_config"               // 400: a topic setting is not allowed
	ErrInvalidPartitions          Code = "invalid_partitions"           // 400: the number of partitions is not allowed
	ErrInvalidBody                Code = "invalid_body"                 // 400: the body ended early or is wrongly framed
	ErrInvalidEncoding            Code = "invalid_encoding"             // 400: the body is not what its content encoding says
	ErrNoRecords                  Code = "no_records"                   // 400: the request holds no records
	ErrNeedsAcksAll               Code = "needs_acks_all"               // 400: the request needs acks=all
	ErrNeedsPartition             Code = "needs_partition"              // 400: the request must name a partition in its path
	ErrAcksOneNotOffered          Code = "acks_one_not_offered"         // 400: the node offers acks=all only
	ErrBatchTruncated             Code = "batch_truncated"              // 400: a record batch is cut off
	ErrBatchMagic                 Code = "batch_magic"                  // 400: a record batch is not of version 2
	ErrBatchCRC                   Code = "batch_crc"                    // 400: a record batch does not match its CRC
	ErrBatchCount                 Code = "batch_count"                  // 400: a record batch does not hold the number of records that it states
	ErrBatchOffsetDeltas          Code = "batch_offset_deltas"          // 400: the offset deltas of a record batch are not 0, 1, 2, …
	ErrBatchTimestamps            Code = "batch_timestamps"             // 400: the max timestamp of a record batch is not that of its records
	ErrBatchCodec                 Code = "batch_codec"                  // 400: a record batch is compressed in an unknown way
	ErrBatchControl               Code = "batch_control"                // 400: control and transactional batches are not accepted
	ErrBatchMalformed             Code = "batch_malformed"              // 400: a record batch is malformed
	ErrProducerFenced             Code = "producer_fenced"              // 403: the producer's epoch is stale
	ErrUnknownProducerID          Code = "unknown_producer_id"          // 403: the producer id was never given out, or has expired
	ErrNotFound                   Code = "not_found"                    // 404: there is no such resource
	ErrTopicNotFound              Code = "topic_not_found"              // 404: there is no such topic
	ErrGroupNotFound              Code = "group_not_found"              // 404: there is no such group
	ErrPartitionNotFound          Code = "partition_not_found"          // 404: there is no such partition
	ErrMethodNotAllowed           Code = "method_not_allowed"           // 405: the resource does not have this method
	ErrNotAcceptable              Code = "not_acceptable"               // 406: none of the acceptable media types is offered
	ErrSlowBody                   Code = "slow_body"                    // 408: the body came too slowly
	ErrTopicExists                Code = "topic_exists"                 // 409: the topic exists with other settings
	ErrPartitionsShrink           Code = "partitions_shrink"            // 409: partitions cannot become fewer
	ErrOutOfOrderSequence         Code = "out_of_order_sequence"        // 409: the producer's sequence has a gap
	ErrRebalanceInProgress        Code = "rebalance_in_progress"        // 409: the member's partitions have changed
	ErrGroupStrategyMismatch      Code = "group_strategy_mismatch"      // 409: the group has another strategy
	ErrGroupNotEmpty              Code = "group_not_empty"              // 409: the group has members
	ErrFeatureLevelTooLow         Code = "feature_level_too_low"        // 409: the catalog's feature level is too low
	ErrOffsetBelowStart           Code = "offset_below_start"           // 410: the records at this offset are gone
	ErrMemberFenced               Code = "member_fenced"                // 410: the member is not in the group any more
	ErrOffsetMismatch             Code = "offset_mismatch"              // 412: the first record would not get the expected offset
	ErrFencingTokenMismatch       Code = "fencing_token_mismatch"       // 412: the partition has another fencing token
	ErrBodyTooLarge               Code = "body_too_large"               // 413: the body is over the limit
	ErrRecordTooLarge             Code = "record_too_large"             // 413: a record is over the limit
	ErrBatchTooLarge              Code = "batch_too_large"              // 413: a record batch is over the limit
	ErrTooManyRecords             Code = "too_many_records"             // 413: the request holds too many records
	ErrTooManyPartitions          Code = "too_many_partitions"          // 413: the member has too many partitions
	ErrUnsupportedMediaType       Code = "unsupported_media_type"       // 415: the body's media type is not taken here
	ErrUnsupportedContentEncoding Code = "unsupported_content_encoding" // 415: the body's content encoding is not taken here
	ErrOffsetAboveEnd             Code = "offset_above_end"             // 416: the offset is above the end
	ErrIdempotencyKeyReused       Code = "idempotency_key_reused"       // 422: the idempotency key was used for another request
	ErrTooManyIdempotencyKeys     Code = "too_many_idempotency_keys"    // 429: too many idempotency keys are remembered
	ErrGroupFull                  Code = "group_full"                   // 429: the group has as many members or topics as it may
	ErrClientClosedRequest        Code = "client_closed_request"        // 499: the client closed the request
	ErrCorruptData                Code = "corrupt_data"                 // 500: stored bytes are not what was written
	ErrInternal                   Code = "internal"                     // 500: the node failed
	ErrOverloaded                 Code = "overloaded"                   // 503: the node cannot take the request at the moment
	ErrNotReady                   Code = "not_ready"                    // 503: the node is not ready
	ErrNotConfirmed               Code = "not_confirmed"                // 503: the node cannot tell at the moment
	ErrNotIngest                  Code = "not_ingest"                   // 503: the node does not take records
	ErrNotReader                  Code = "not_reader"                   // 503: the node does not serve records
	ErrCatalogFull                Code = "catalog_full"                 // 503: the catalog is at its limit
	ErrStoreUnavailable           Code = "store_unavailable"            // 503: the object store does not answer as it should
	ErrTimeout                    Code = "timeout"                      // 503: the request was not carried out in time
	ErrSettingsChanged            Code = "settings_changed"             // 503: the topic's settings have just changed
	ErrNotCommitted               Code = "not_committed"                // 503: the records were not committed
	ErrOutcomeUnknown             Code = "outcome_unknown"              // 504: whether the request took effect is unknown
)
