package catalog

// ExtentCRCLenMax is the length in bytes up to which an extent carries its own
// CRC32C; a longer one carries that of its object's index.
const ExtentCRCLenMax = 1 << 20

// Extent is a contiguous run of batches of one partition within one object.
// Its fields are ordered so that it takes 64 bytes.
type Extent struct {
	Object       ObjectID
	Pos          Pos
	Len          int64 // bytes
	Base         Offset
	MaxTimestamp int64  // ms
	CommitTime   int64  // ms of journal time
	CRC          uint32 // of the bytes if Len <= ExtentCRCLenMax, else Object's IndexCRC
	Records      int32
}

// End is the offset after the extent's last record.
func (e *Extent) End() Offset { return e.Base + Offset(e.Records) }
