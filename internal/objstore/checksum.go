package objstore

import "context"

// CRCPutter is a Bucket that takes the CRC32C of a body from its caller.
type CRCPutter interface {
	// PutWithCRC is Put for a body whose CRC32C should be crc. If it is not, by
	// the time that the store has it, the store refuses it with ErrChecksum.
	PutWithCRC(ctx context.Context, key string, body []byte, crc uint32) (Receipt, error)
}

// Putter writes objects; every Bucket is one.
type Putter interface {
	Put(ctx context.Context, key string, body []byte) (Receipt, error)
}

// PutWithCRC puts a body whose CRC32C the caller knows from elsewhere, so that
// it is not computed anew, and what changed in memory meanwhile is found out. A
// store that verifies no CRC32C does not look at it: one in a folder or in memory,
// or one that is sent another checksum.
func PutWithCRC(ctx context.Context, p Putter, key string, body []byte, crc uint32) (Receipt, error) {
	if c, ok := p.(CRCPutter); ok {
		return c.PutWithCRC(ctx, key, body, crc)
	}
	return p.Put(ctx, key, body)
}
