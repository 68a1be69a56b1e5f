// Package s3store is the driver for Amazon S3 and stores that speak its API. It
// is the only package that imports the AWS SDK, and no type of the SDK leaves
// it.
//
// # Checksums
//
// Every PUT and every part of a multipart upload carries the CRC32C of its body in
// x-amz-checksum-crc32c, which the store verifies before it answers. The payload
// is not signed (UNSIGNED-PAYLOAD), so that no SHA-256 is computed on either
// side. For a store that does not verify CRC32C, ChecksumSHA256 signs the SHA-256 of
// the payload instead. The checksums that the SDK would add by itself are off.
//
// # Outcomes of a failed write
//
// No request is repeated here: the SDK's retries are off, and net/http sends a PUT
// anew only if not a byte of it was written. So an outcome speaks of one attempt.
//
//   - 400 to 499 mean that the store looked at the request and did not do it: not
//     committed. The exceptions, which come from a body or a connection that broke on
//     the way or from something in between, are RequestTimeout, IncompleteBody, 408
//     and 429: unknown.
//   - 503 and all other 5xx are unknown. S3 documents SlowDown as a request to come
//     back, without a promise that nothing was done, and MinIO answers a PUT with 503
//     SlowDownWrite when fewer drives took the object than it wants, after some did.
//     501 is the exception: not committed.
//   - No answer is unknown, whatever the reason.
//
// The package starts a goroutine per PutStream only, which ends with it, and
// net/http keeps one or two for each open connection until Close.
package s3store
