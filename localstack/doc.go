// Package localstack runs the services around Wadi on one machine: today a real
// MinIO on the loopback interface, for tests, benchmarks and `make run-minio`.
//
// MinIO is archived and gets no fixes any more: good for a test bench, nothing to
// be seen from a network. It is built from source once, at a version that the
// module proxy and the checksum database vouch for, into a cache folder outside of
// the repository (WADI_TOOLS, or wadi/tools below os.UserCacheDir); a minio that
// happens to be on the PATH is never used.
//
// Each process that is started has a goroutine that waits for its end. On Linux the
// process dies with the one that started it, also by kill -9.
package localstack
