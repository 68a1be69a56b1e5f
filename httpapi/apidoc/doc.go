// Package apidoc makes a page to read of an OpenAPI 3.1 document.
//
// It owns the reading of the document, as far as the page needs it, and the
// page's look. It does no I/O, has no state and no goroutines. What the page
// says comes from the document alone, so that it cannot say anything else.
//
// The page is one piece of HTML with its style inside. It asks for nothing else,
// runs no script, and its Content-Security-Policy allows neither.
package apidoc
