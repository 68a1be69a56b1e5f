package objstore

import (
	"fmt"
	"math"
	"strings"
)

// KeyBytesMax is the length of the longest key below a bucket's prefix. S3
// takes 1024 bytes with the prefix; what is left here is for the prefix.
const KeyBytesMax = 768

// SegmentBytesMax is the length of the longest part of a key between slashes:
// a file name has at most 255 bytes, and temporary names are longer than keys.
const SegmentBytesMax = 200

// CheckKey tells whether every driver can store an object under key: segments
// of letters, digits and . _ - = parted by single slashes, none of them empty,
// "." or "..". So a key is the same in a URL, in a signature, in an XML listing and
// as a path of files, and nothing needs to be escaped anywhere.
//
// A key must also not be a folder of another one (a and a/b): S3 could keep
// both, a file system cannot. Drivers need not detect this.
func CheckKey(key string) error {
	if len(key) > KeyBytesMax {
		return fmt.Errorf("%w: key of %d bytes, at most %d are allowed", ErrRefused, len(key), KeyBytesMax)
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return fmt.Errorf("%w: key %q has an empty, . or .. segment", ErrRefused, key)
		case len(segment) > SegmentBytesMax:
			return fmt.Errorf("%w: key %q has a segment of %d bytes, at most %d are allowed", ErrRefused, key, len(segment), SegmentBytesMax)
		}
	}
	return checkChars(key)
}

// CheckPrefix tells whether prefix may stand in List: the beginning of a key,
// which need not end at a slash, or nothing.
func CheckPrefix(prefix string) error {
	if len(prefix) > KeyBytesMax {
		return fmt.Errorf("%w: prefix of %d bytes, at most %d are allowed", ErrRefused, len(prefix), KeyBytesMax)
	}
	folders := strings.Split(prefix, "/")
	for _, segment := range folders[:len(folders)-1] {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("%w: prefix %q has an empty, . or .. segment", ErrRefused, prefix)
		}
	}
	return checkChars(prefix)
}

func checkChars(key string) error {
	for i := range len(key) {
		c := key[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '=', c == '/':
		default:
			return fmt.Errorf("%w: key %q has the character %q", ErrRefused, key, c)
		}
	}
	return nil
}

// PageLimit brings the limit of a List into 1 to ListPageMax.
func PageLimit(limit int) int {
	if limit < 1 || limit > ListPageMax {
		return ListPageMax
	}
	return limit
}

// CheckRange tells whether a GetRange can be asked of any object. An empty
// range is refused since HTTP has no way to say it.
func CheckRange(pos, length int64) error {
	if pos < 0 || length < 1 || pos > math.MaxInt64-length {
		return fmt.Errorf("%w: %d bytes from %d on", ErrInvalidRange, length, pos)
	}
	return nil
}
