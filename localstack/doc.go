// Package localstack runs the services around Wadi on one machine, as real
// processes on the loopback interface, for tests, benchmarks and trials: MinIO,
// nodes, and an nginx in front of them. A Cluster is all of these.
//
// MinIO is archived and gets no fixes any more: good for a test bench, nothing to
// be seen from a network. It is built from source once, at a version that the
// module proxy and the checksum database vouch for, into a cache folder outside of
// the repository (WADI_TOOLS, or wadi/tools below os.UserCacheDir); a minio that
// happens to be on the PATH is never used. nginx is the system's: its configuration
// (nginx.conf.tmpl, of which deploy/nginx/nginx.conf is made) is what people are
// told to use.
//
// Each process that is started has a goroutine that waits for its end. On Linux the
// process dies with the one that started it, also by kill -9; for nginx, whose
// workers would be left, a watcher sees to it everywhere.
package localstack
