// Package catalog knows which bytes of which objects hold which offsets.
package catalog
