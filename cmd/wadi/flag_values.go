package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// byteSize is a flag that takes sizes such as 512MiB, 1GB or 1048576.
type byteSize int64

func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || strings.HasPrefix(strings.TrimSpace(s), "-") {
		return fmt.Errorf("%q is not a size such as 512MiB", s)
	}
	if n > math.MaxInt64 {
		return fmt.Errorf("%s is too large", s)
	}
	*b = byteSize(n)
	return nil
}

func (b *byteSize) Type() string { return "size" }

func (b *byteSize) String() string {
	n := int64(*b)
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	unit := 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

func bytesFlag(flags *pflag.FlagSet, p *int64, name string, value int64, usage string) {
	*p = value
	flags.Var((*byteSize)(p), name, usage)
}

// onOff is a flag that takes on or off.
type onOff bool

func (o *onOff) Set(s string) error {
	switch strings.ToLower(s) {
	case "on", "true":
		*o = true
	case "off", "false":
		*o = false
	default:
		return fmt.Errorf("%q is neither on nor off", s)
	}
	return nil
}

func (o *onOff) Type() string { return "on|off" }

func (o *onOff) String() string {
	if *o {
		return "on"
	}
	return "off"
}

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("%q is not one of %s", s, strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}

func (c choice) Type() string { return strings.Join(c.words, "|") }

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func choiceFlag(cmd *cobra.Command, p *string, name, value, usage string, words ...string) {
	*p = value
	cmd.Flags().Var(choice{p, words}, name, usage)
	// The flag was defined on the line above: the error says that it was not.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// words is a flag that takes some of a few words, separated by commas or given
// one after the other.
type words struct {
	value *[]string
	known []string
	given bool // value no longer holds the default
}

func (w *words) Set(s string) error {
	var chosen []string
	if w.given {
		chosen = *w.value
	}
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if !slices.Contains(w.known, word) {
			return fmt.Errorf("%q is not one of %s", word, strings.Join(w.known, ", "))
		}
		if !slices.Contains(chosen, word) {
			chosen = append(chosen, word)
		}
	}
	*w.value, w.given = chosen, true
	return nil
}

func (w *words) Type() string { return "list" }

func (w *words) String() string {
	if w.value == nil {
		return ""
	}
	return strings.Join(*w.value, ",")
}
