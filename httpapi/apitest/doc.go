// Package apitest checks, over real HTTP, that a node answers bad requests as
// the API promises: with the exact status and code, promptly, without storing
// anything, and without losing its place on the connection. It is used by the
// tests of httpapi and by those of whole nodes; it knows nothing but the API.
package apitest
