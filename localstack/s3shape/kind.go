package s3shape

import "net/http"

// kind of a request, as far as S3's latency differs.
type kind uint8

const (
	get kind = iota
	put
	putIfAbsent
	list
	del
	kinds // how many there are
)

func (k kind) String() string {
	return [...]string{"get", "put", "put-if-absent", "list", "delete"}[k]
}

// kindOf judges by method, condition and the query that makes a GET a listing.
func kindOf(r *http.Request) kind {
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		if r.Header.Get("If-None-Match") == "*" {
			return putIfAbsent
		}
		return put
	case http.MethodDelete:
		return del
	}
	query := r.URL.Query()
	for _, listing := range []string{"list-type", "uploads", "location"} {
		if query.Has(listing) {
			return list
		}
	}
	return get
}
