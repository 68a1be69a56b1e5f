package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types that mean something to the API.
const (
	mediaJSON        = "application/json"
	mediaProblem     = "application/problem+json"     // RFC 9457
	mediaMergePatch  = "application/merge-patch+json" // RFC 7396
	mediaNDJSON      = "application/x-ndjson"
	mediaRecordBatch = "application/vnd.kafka.recordbatch.v2"
	mediaEventStream = "text/event-stream"
	mediaForm        = "application/x-www-form-urlencoded"
)

// contentType returns the media type of a request's body, "" if it has none.
func contentType(r *http.Request) (string, error) {
	if _, err := contentCoding(r); err != nil {
		return "", err
	}
	text, ok, err := singleHeader(r.Header, "Content-Type")
	if !ok {
		return "", err
	}
	media, params, err := mime.ParseMediaType(text)
	if err != nil {
		return "", kindMediaType.newf("header Content-Type is malformed")
	}
	switch media {
	case mediaJSON, mediaNDJSON, mediaMergePatch:
		if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
			return "", kindMediaType.newf("%s is always UTF-8", media)
		}
	}
	return media, nil
}

// requireJSON refuses a body that says it is something other than JSON. What
// curl says of any body is not held against it.
func requireJSON(r *http.Request, also ...string) error {
	media, err := contentType(r)
	if err != nil {
		return err
	}
	for _, m := range append(also, "", mediaJSON, mediaForm) {
		if media == m {
			return nil
		}
	}
	return kindMediaType.newf("the body must be %s", mediaJSON).with("supported", append([]string{mediaJSON}, also...))
}

// fetchable are the media types of a fetch's answer, the default first;
// followable those of one that goes on.
var (
	fetchable  = []string{mediaJSON, mediaNDJSON, mediaRecordBatch, mediaEventStream}
	followable = []string{mediaNDJSON, mediaEventStream}
)

// acceptable picks the media type of an answer by the request's Accept
// (RFC 9110, 12.5.1): the highest quality, the earlier of those offered among equals.
func acceptable(r *http.Request, offered []string) (string, error) {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return offered[0], nil
	}
	best, bestQuality := "", 0.0
	for _, media := range offered {
		if quality := quality(accept, media); quality > bestQuality {
			best, bestQuality = media, quality
		}
	}
	if best != "" {
		return best, nil
	}
	return "", kindNotAcceptable.newf("the answer can be %s", strings.Join(offered, ", ")).with("supported", offered)
}

// quality returns how much accept wants media. The most specific range that
// matches decides; ranges that are malformed match nothing.
func quality(accept, media string) float64 {
	kind, _, _ := strings.Cut(media, "/")
	quality, specific := 0.0, 0
	for _, part := range strings.Split(accept, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		rank := 0
		switch name {
		case media:
			rank = 3
		case kind + "/*":
			rank = 2
		case "*/*":
			rank = 1
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			q, err = strconv.ParseFloat(text, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		if rank > specific {
			quality, specific = q, rank
		}
	}
	return quality
}
