// Package peerhttp carries what the catalogs of several nodes ask of each other
// over HTTP: Client is a catalog.Peers, Server hands requests to the catalog of
// its node.
//
// Nodes show each other a Token that follows from the cluster's id, which only
// those know who can read the bucket, and from --peer-secret if there is one. So
// a node answers no stranger, and no node of another cluster that came to have
// an address that a claim still names. The token is compared before a body is
// read. There is no TLS: the listener belongs on a private network.
//
// # Invariants
//
//   - *catalog.NotLeaderError, catalog.ErrBusy and catalog.ErrBehind promise that
//     nothing was done. The client returns them only for an answer of a Server:
//     status and message must agree, and the message has a checksum, so that
//     nothing between two nodes can make such a promise.
//   - catalog.ErrNobodyThere promises that nothing was sent. The client returns it
//     only if a connection was refused; requests are never repeated below it once
//     a byte of them was written.
//   - Whatever else happens is an error that promises nothing.
//
// It starts no goroutine but those of net/http: the server has one for each
// connection, and ends them when it is closed; the client has two for each
// connection, which Close ends.
package peerhttp
