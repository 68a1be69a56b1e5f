package catalog

// State is the catalog: what the journal's edits have made of it. A State has
// one owner that applies edits; its Clones are immutable views that any number
// of goroutines may read.
type State struct{}

// NewState returns the catalog of an empty journal.
func NewState(clusterID [16]byte) *State { panic("stub") }

// Clone returns an immutable view in O(1).
func (s *State) Clone() *State { panic("stub") }

// Advance moves the journal's time to ms, if that is later.
func (s *State) Advance(ms int64) { panic("stub") }

// Apply carries out one edit. It is deterministic: no I/O, no clock, no random.
// A refused edit changes nothing.
func Apply(s *State, e Edit) Result { panic("stub") }

// CheckTouched checks the invariants of what an edit touched and returns the first that is
// broken, nil if none is. The leader calls it before every journal write.
func CheckTouched(s *State, e Edit) error { panic("stub") }

// CheckAll checks every invariant; it is slow and meant for tests and verify.
func CheckAll(s *State) error { panic("stub") }

// ClusterID is what slot 0 holds.
func (s *State) ClusterID() [16]byte { panic("stub") }

// Time is the journal's time in ms.
func (s *State) Time() int64 { panic("stub") }

// Level is the catalog's feature level.
func (s *State) Level() uint32 { panic("stub") }

// Topic returns a topic by id.
func (s *State) Topic(id TopicID) (*Topic, bool) { panic("stub") }

// TopicByName returns a topic by name.
func (s *State) TopicByName(name string) (*Topic, bool) { panic("stub") }

// Topics returns up to limit topics whose names begin with prefix and sort
// after after, by name.
func (s *State) Topics(prefix, after string, limit int) []*Topic { panic("stub") }

// Partition returns a partition, nil if there is none.
func (s *State) Partition(tp TopicPartition) *Partition { panic("stub") }

// Object returns an object that has live extents.
func (s *State) Object(id ObjectID) (Object, bool) { panic("stub") }

// Node returns an ingest node's last number.
func (s *State) Node(id NodeID) (Node, bool) { panic("stub") }

// Object is an object that holds records.
type Object struct {
	NewObject
	Extents int64 // live ones
}

// Node is one life of an ingest node.
type Node struct {
	Last         uint64 // number of its last committed batch
	HasWAL       bool
	RegisteredAt int64 // ms of journal time
}

// Partition is the state of one partition. It is immutable: a change puts
// another in its place.
type Partition struct{}

// LogStart is the lowest offset that is still there.
func (p *Partition) LogStart() Offset { panic("stub") }

// End is the offset that the next record gets; it is also the high watermark.
func (p *Partition) End() Offset { panic("stub") }

// Extents returns the extents from the one that holds offset on, in order, at
// most limit of them; none if offset is not within LogStart and End.
func (p *Partition) Extents(offset Offset, limit int) []Extent { panic("stub") }

// ExtentAtTime returns the first extent that holds a record with a timestamp
// of at least ms.
func (p *Partition) ExtentAtTime(ms int64) (Extent, bool) { panic("stub") }

// Bytes is the sum of the lengths of its extents.
func (p *Partition) Bytes() int64 { panic("stub") }

// ExtentCRCLenMax is the length in bytes up to which an extent carries its own
// CRC32C; a longer one carries that of its object's index.
const ExtentCRCLenMax = 1 << 20

// Extent is a contiguous run of batches of one partition within one object.
type Extent struct {
	Object       ObjectID
	Pos          Pos
	Len          int64  // bytes
	CRC          uint32 // of the bytes if Len <= ExtentCRCLenMax, else Object's IndexCRC
	Base         Offset
	Records      int32
	MaxTimestamp int64 // ms
	CommitTime   int64 // ms of journal time
}

// AppendEdits encodes edits with their results as the payload of an entry.
func AppendEdits(dst []byte, edits []Edit, results []Result) []byte { panic("stub") }

// DecodeEdits is the inverse of AppendEdits. An edit of a newer kind is ErrNewerEdit.
func DecodeEdits(payload []byte) ([]Edit, []Result, error) { panic("stub") }

// ResultsEqual tells whether a replica's own outcome of an edit is the one that the journal states.
func ResultsEqual(a, b Result) bool { panic("stub") }

// Encode passes the whole state, as of the entry that info names, to yield in chunks.
func (s *State) Encode(yield func(chunk []byte) error) error { panic("stub") }

// StateDecoder rebuilds a State from the chunks that Encode made, however they
// were cut.
type StateDecoder struct{}

// Write takes the next bytes.
func (d *StateDecoder) Write(chunk []byte) error { panic("stub") }

// State ends the decoding.
func (d *StateDecoder) State() (*State, error) { panic("stub") }
