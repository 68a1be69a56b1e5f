package segment

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"pgregory.net/rapid"

	"github.com/wadilog/wadi/internal/recordbatch"
)

// testBatch makes a batch with a right header around payloadLen bytes that
// stand for its records; a segment does not look into those.
func testBatch(h recordbatch.Header, payloadLen int, seed uint64) Batch {
	data := make([]byte, recordbatch.HeaderLen+payloadLen)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := recordbatch.HeaderLen; i < len(data); i++ {
		data[i] = byte(random.Uint32())
	}
	h.Length = int32(len(data) - 12)
	h.Magic = 2
	h.LastOffsetDelta = h.RecordCount - 1
	binary.BigEndian.PutUint64(data[0:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(data[8:], uint32(h.Length))
	binary.BigEndian.PutUint32(data[12:], uint32(h.PartitionLeaderEpoch))
	data[16] = byte(h.Magic)
	binary.BigEndian.PutUint16(data[21:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(data[23:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(data[27:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(data[35:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(data[43:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(data[51:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(data[53:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(data[57:], uint32(h.RecordCount))
	h.CRC = crc32.Checksum(data[21:], Castagnoli)
	binary.BigEndian.PutUint32(data[17:], h.CRC)
	return Batch{Data: data, Header: h}
}

// plainBatch is a batch of no producer.
func plainBatch(records int32, timestamp int64, payloadLen int, seed uint64) Batch {
	return testBatch(recordbatch.Header{
		BaseTimestamp: timestamp,
		MaxTimestamp:  timestamp + int64(records) - 1,
		ProducerID:    -1, ProducerEpoch: -1, BaseSequence: -1,
		RecordCount: records,
	}, payloadLen, seed)
}

var (
	testID     = ulid.MustParse("01JDB2N6Q0W4D1BT8XJ3CR5H7K")
	testOrigin = Origin{Node: uuid.MustParse("6f1f7b52-93c5-4d33-9d8a-2f0d3a5be1c4"), After: 41, Upto: 47}
	topicA     = uuid.MustParse("0a000000-0000-4000-8000-000000000001")
	topicB     = uuid.MustParse("0b000000-0000-4000-8000-000000000002")
)

// smallRuns are three runs of two topics, out of order.
func smallRuns() []Run {
	return []Run{
		{Topic: topicB, TopicName: "flights", Partition: 3, Batches: []Batch{
			plainBatch(1, 1_700_000_000_000, 10, 1),
			testBatch(recordbatch.Header{
				BaseTimestamp: 1_700_000_000_500, MaxTimestamp: 1_700_000_000_400, RecordCount: 7,
				ProducerID: 9_000_000_000, ProducerEpoch: 2, BaseSequence: 70,
			}, 300, 2),
		}},
		{Topic: topicB, TopicName: "flights", Partition: 0, Batches: []Batch{plainBatch(5, -1, 0, 3)}},
		{Topic: topicA, TopicName: "weather", Partition: 12, Batches: []Batch{
			plainBatch(2, 1_600_000_000_000, 40, 4),
			plainBatch(1, 1_600_000_000_100, 1, 5),
			plainBatch(1, 1_600_000_000_050, 2, 6),
		}},
	}
}

// largeRuns are a run of more than two blocks, with one batch that spans a whole
// block, and a small one behind it.
func largeRuns() []Run {
	large := Run{Topic: topicA, TopicName: "weather", Partition: 0}
	for i, payloadLen := range []int{700_000, 2_300_000, 100, 500_000} {
		large.Batches = append(large.Batches, plainBatch(int32(i+1)*10, 1_700_000_000_000-int64(i), payloadLen, uint64(i)))
	}
	return []Run{large, {Topic: topicA, TopicName: "weather", Partition: 1, Batches: []Batch{plainBatch(1, 5, 5, 9)}}}
}

// drawRuns draws what Encode takes, with extreme values in all fields of the headers.
func drawRuns(t *rapid.T) []Run {
	partitions := rapid.SliceOfNDistinct(rapid.Int32Min(0), 1, 6, rapid.ID[int32]).Draw(t, "partitions")
	var runs []Run
	for _, partition := range partitions {
		topic := rapid.Uint8Range(0, 3).Draw(t, "topic")
		run := Run{Topic: uuid.UUID{0: topic}, TopicName: string('a' + rune(topic)), Partition: partition}
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			run.Batches = append(run.Batches, testBatch(recordbatch.Header{
				BaseOffset:           recordbatch.Offset(rapid.Int64().Draw(t, "base offset")),
				PartitionLeaderEpoch: rapid.Int32().Draw(t, "leader epoch"),
				Attributes:           rapid.Int16().Draw(t, "attributes"),
				BaseTimestamp:        rapid.Int64().Draw(t, "base timestamp"),
				MaxTimestamp:         rapid.Int64().Draw(t, "max timestamp"),
				ProducerID:           rapid.Int64().Draw(t, "producer id"),
				ProducerEpoch:        rapid.Int16().Draw(t, "producer epoch"),
				BaseSequence:         rapid.Int32().Draw(t, "base sequence"),
				RecordCount:          rapid.Int32Min(1).Draw(t, "records"),
			}, rapid.IntRange(0, 300).Draw(t, "payload"), rapid.Uint64().Draw(t, "seed")))
		}
		runs = append(runs, run)
	}
	return runs
}

func mustEncode(t testing.TB, runs []Run) *Sealed {
	t.Helper()
	sealed, err := Encode(testID, testOrigin, runs)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}
