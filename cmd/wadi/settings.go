package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// configFlag names the settings file.
const configFlag = "config"

// flagOnly is the annotation of a flag that only the command line can give.
const flagOnly = "wadi_flag_only"

// settingsBytesMax bounds the settings file.
const settingsBytesMax = 1 << 20

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "WADI_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applySettings gives cmd's flags that are not on the command line the values
// of the environment, and else those of the settings file.
func applySettings(cmd *cobra.Command, getenv func(string) string) error {
	file, err := readSettings(settingsPath(cmd, getenv), knownSettings(cmd.Root()))
	if err != nil {
		return &usageError{err}
	}
	var wrong []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || !isSetting(f) {
			return
		}
		if value := getenv(envName(f.Name)); value != "" {
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				wrong = append(wrong, fmt.Errorf("%s=%q: %w", envName(f.Name), value, rootCause(err)))
			}
			return
		}
		for _, value := range file.values[f.Name] {
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %s: %q: %w", file.path, f.Name, value, rootCause(err)))
			}
		}
	})
	if len(wrong) > 0 {
		return &usageError{errors.Join(wrong...)}
	}
	return nil
}

// rootCause drops what pflag puts around a value's own complaint, since the
// flag it names is not what the user wrote.
func rootCause(err error) error {
	if invalid := (*pflag.InvalidValueError)(nil); errors.As(err, &invalid) && invalid.Unwrap() != nil {
		return invalid.Unwrap()
	}
	return err
}

// isSetting tells whether f can come from the environment and the file.
func isSetting(f *pflag.Flag) bool {
	return f.Name != "help" && f.Name != configFlag && f.Annotations[flagOnly] == nil
}

// settingsPath is the settings file: of --config, unless the command uses that
// flag for something else, or of WADI_CONFIG.
func settingsPath(cmd *cobra.Command, getenv func(string) string) string {
	f := cmd.Root().PersistentFlags().Lookup(configFlag)
	if f.Changed {
		return f.Value.String()
	}
	return getenv(envName(configFlag))
}

// knownSettings are the flags of all commands: one file serves them all.
func knownSettings(root *cobra.Command) map[string]bool {
	known := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			flags.VisitAll(func(f *pflag.Flag) {
				if isSetting(f) {
					known[f.Name] = true
				}
			})
		}
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
	return known
}

// settingsFile holds the values of a settings file by flag; a list has several.
type settingsFile struct {
	path   string
	values map[string][]string
}

// readSettings reads a YAML file that maps names of flags to values or lists
// of them. A name that is in known is the only one allowed. Without a path
// there are no settings.
func readSettings(path string, known map[string]bool) (settingsFile, error) {
	if path == "" {
		return settingsFile{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return settingsFile{}, fmt.Errorf("read settings: %w", err)
	}
	defer func() { _ = f.Close() }()
	body, err := io.ReadAll(io.LimitReader(f, settingsBytesMax+1))
	if err != nil {
		return settingsFile{}, fmt.Errorf("read settings: %w", err)
	}
	if len(body) > settingsBytesMax {
		return settingsFile{}, fmt.Errorf("%s: longer than %d bytes", path, settingsBytesMax)
	}
	values, err := parseSettings(body, known)
	if err != nil {
		return settingsFile{}, fmt.Errorf("%s: %w", path, err)
	}
	return settingsFile{path: path, values: values}, nil
}

func parseSettings(body []byte, known map[string]bool) (map[string][]string, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(body))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil // an empty file sets nothing
		}
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: not a map of settings", top.Line)
	}
	values := map[string][]string{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		name, value := top.Content[i], top.Content[i+1]
		if !known[name.Value] {
			return nil, fmt.Errorf("line %d: unknown setting %q", name.Line, name.Value)
		}
		if _, twice := values[name.Value]; twice {
			return nil, fmt.Errorf("line %d: %s is given twice", name.Line, name.Value)
		}
		items := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			items = value.Content
		}
		values[name.Value] = []string{}
		for _, item := range items {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, fmt.Errorf("line %d: %s is neither a value nor a list of values", item.Line, name.Value)
			}
			values[name.Value] = append(values[name.Value], item.Value)
		}
	}
	return values, nil
}
