// Package objstore is the one door to object stores: the Bucket interface and
// its drivers. SDK types never leave it.
package objstore
