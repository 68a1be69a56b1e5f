package catalog

import (
	"strings"
	"testing"
)

func TestValidTopicName(t *testing.T) {
	for name, want := range map[string]bool{
		"a":                      true,
		"Flights_2024-01.raw":    true,
		"...":                    true,
		strings.Repeat("x", 249): true,
		"":                       false,
		".":                      false,
		"..":                     false,
		strings.Repeat("x", 250): false,
		"a b":                    false,
		"a/b":                    false,
		"a\x00":                  false,
		"é":                      false,
		"a:b":                    false,
	} {
		if got := ValidTopicName(name); got != want {
			t.Errorf("ValidTopicName(%q) = %v", name, got)
		}
	}
}
