package httpapi

import (
	"net/http"
	"strconv"
	"strings"
)

// coding is a content coding (RFC 9110, 8.4.1) of a body or an answer.
type coding string

// The codings that are taken and offered. Nothing else is worth its code: brotli
// is slow to make, deflate means two different things in the wild.
const (
	identity   coding = ""
	codingGzip coding = "gzip"
	codingZstd coding = "zstd"
)

// parseCoding knows a coding by its name in a header; x-gzip is an old name
// (RFC 9110, 8.4.1.3).
func parseCoding(name string) (c coding, ok bool) {
	switch strings.ToLower(name) {
	case "identity":
		return identity, true
	case "gzip", "x-gzip":
		return codingGzip, true
	case "zstd":
		return codingZstd, true
	}
	return identity, false
}

// contentCoding returns the coding of a request's body. Codings on top of each
// other are refused: they are of no use, and a body of several is a bomb of
// several stages.
func contentCoding(r *http.Request) (coding, error) {
	names := listed(r.Header.Values("Content-Encoding"))
	if len(names) == 0 {
		return identity, nil
	}
	c, ok := parseCoding(names[0])
	switch {
	case len(names) > 1:
		return identity, refusedCoding("codings on top of each other are not taken")
	case !ok:
		return identity, refusedCoding("coding %s is not taken", names[0])
	}
	return c, nil
}

// refusedCoding names what would have been taken, as RFC 9110, 15.5.16 wants it.
func refusedCoding(format string, args ...any) *problem {
	return kindContentEncoding.newf("header Content-Encoding: "+format, args...).
		with("supported", []string{string(codingGzip), string(codingZstd)}).
		withHeader("Accept-Encoding", string(codingGzip)+", "+string(codingZstd))
}

// listed returns the elements of a header that is a list (RFC 9110, 5.6.1).
func listed(values []string) []string {
	var all []string
	for _, value := range values {
		for _, element := range strings.Split(value, ",") {
			if element = strings.TrimSpace(element); element != "" {
				all = append(all, element)
			}
		}
	}
	return all
}

// wantedCoding is how an answer should be encoded.
type wantedCoding struct {
	coding
	strict bool // it must not go without, however short it is
}

// acceptedCoding picks the coding of an answer by the request's Accept-Encoding
// (RFC 9110, 12.5.3): the one of the highest quality, zstd before gzip among
// equals. Without the header it is none. "*" stands for gzip, which everybody
// knows. An answer that cannot be encoded goes without, also where identity is
// refused: 406 would help nobody.
func acceptedCoding(r *http.Request) wantedCoding {
	const unlisted = -1.0
	plain, gzip, zstd, others := unlisted, unlisted, unlisted, unlisted
	for _, element := range listed(r.Header["Accept-Encoding"]) {
		name, q, ok := parseQuality(element)
		if !ok {
			continue
		}
		if name == "*" {
			others = max(others, q)
			continue
		}
		switch c, known := parseCoding(name); {
		case !known:
		case c == codingGzip:
			gzip = max(gzip, q)
		case c == codingZstd:
			zstd = max(zstd, q)
		default:
			plain = max(plain, q)
		}
	}
	if gzip == unlisted {
		gzip = others
	}
	refused := plain == 0 || plain == unlisted && others == 0
	// Of what is wanted as much as no coding at all, a coding is chosen.
	best := identity
	switch least := max(plain, 0); {
	case zstd > 0 && zstd >= gzip && zstd >= least:
		best = codingZstd
	case gzip > 0 && gzip >= least:
		best = codingGzip
	}
	return wantedCoding{coding: best, strict: best != identity && refused}
}

// parseQuality takes an element of Accept-Encoding apart, as in "gzip;q=0.5".
func parseQuality(element string) (name string, q float64, ok bool) {
	name, weight, weighted := strings.Cut(element, ";")
	name = strings.TrimSpace(name)
	if !weighted {
		return name, 1, true
	}
	key, text, _ := strings.Cut(weight, "=")
	if !strings.EqualFold(strings.TrimSpace(key), "q") {
		return name, 0, false
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return name, q, err == nil && q >= 0 && q <= 1
}
