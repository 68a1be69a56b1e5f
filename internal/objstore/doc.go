// Package objstore is the one door to object stores: the Bucket interface, the
// grammar of keys, the probe of a store at start-up and the count of requests.
//
// The drivers are packages of their own: s3store, filestore, memstore, and
// faultstore, which injects faults into another. Package stores opens one from a
// URL. SDK types never leave s3store. All drivers pass the suite in storetest.
//
// Three things hold for every driver. No request is repeated by it. The error of
// a write says what became of it, as far as that can be known: committed, not
// committed, unknown. And an error of a read or of a refused write is never mistaken
// for a fact about an object: ErrNotFound is the store's own word that it is not
// there.
package objstore
