//go:build !race && !failpoints

package bytepool

const poisons = false
