//go:build !failpoints

package failpoint

// Enabled tells whether this binary was built with failpoints.
const Enabled = false

// Hit marks a step of the write path.
func Hit(string) {}
