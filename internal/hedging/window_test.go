package hedging

import (
	"testing"
	"time"
)

func TestSizeClass(t *testing.T) {
	for size, want := range map[int]int{
		0: 0, 1: 0, 64<<10 - 1: 0, 64 << 10: 1, 256<<10 - 1: 1, 256 << 10: 2, 8 << 20: 4, 64 << 20: 6, 512 << 20: 7, 1 << 40: 7,
	} {
		if got := sizeClass(size); got != want {
			t.Errorf("%d bytes are of class %d, expected %d", size, got, want)
		}
	}
}

func TestWindowQuantile(t *testing.T) {
	var w Window
	for n := range SamplesMin {
		if _, ok := w.Quantile(1000, 0.5); ok {
			t.Fatalf("%d requests are enough", n)
		}
		w.Observe(1000, time.Duration(n)*time.Millisecond)
	}
	if got, ok := w.Quantile(2000, 0.5); !ok || got != SamplesMin/2*time.Millisecond {
		t.Errorf("median %s, %v", got, ok)
	}
	if _, ok := w.Quantile(1<<20, 0.5); ok {
		t.Error("small requests tell how long large ones take")
	}
	for range SamplesMax {
		w.Observe(1000, time.Second)
	}
	if got, _ := w.Quantile(1000, 0.01); got != time.Second {
		t.Errorf("of the latest all took 1s, one in a hundred at most %s", got)
	}
}
