package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"

	"github.com/wadilog/wadi/localstack"
)

// walBytesMax is what the write-ahead buffer takes: 4 GiB and two spare files.
const walBytesMax = 4<<30 + 2*64<<20

// flagsOf reads --name=value; a flag without value has "".
func flagsOf(args []string) map[string]string {
	flags := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flags[name] = value
	}
	return flags
}

func parseBytes(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := humanize.ParseBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestContainersFitTheProgram holds the arguments of all containers to the flags
// that there are, and what is around a node to its arguments.
func TestContainersFitTheProgram(t *testing.T) {
	m := readManifests(t)
	wadi, err := localstack.BuildWadi(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range m.workloads {
		name, spec := w.Metadata.Name, w.Spec.Template.Spec
		if len(spec.Containers) != 1 {
			t.Fatalf("%s has %d containers", name, len(spec.Containers))
		}
		c := spec.Containers[0]
		if len(c.Args) == 0 || c.Args[0] != "serve" {
			t.Fatalf("%s runs %q", name, c.Args)
		}
		// Flags and their values are read before the help is printed.
		if output, err := exec.Command(wadi, append(slices.Clone(c.Args), "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
		flags := flagsOf(c.Args[1:])

		ports := map[string]int{}
		for _, p := range c.Ports {
			ports[p.Name] = p.ContainerPort
		}
		for flag, want := range map[string]string{
			"listen":      fmt.Sprintf("0.0.0.0:%d", ports["http"]),
			"peer-listen": fmt.Sprintf("0.0.0.0:%d", ports["peers"]),
			"advertise":   fmt.Sprintf("http://$(POD_IP):%d", ports["peers"]),
		} {
			if flags[flag] != want {
				t.Errorf("%s has --%s=%s, want %s", name, flag, flags[flag], want)
			}
		}
		if len(c.Env) != 1 || c.Env[0].Name != "POD_IP" || c.Env[0].ValueFrom.FieldRef.FieldPath != "status.podIP" {
			t.Errorf("%s does not know its own address: %+v", name, c.Env)
		}
		if got := w.Spec.Template.Metadata.Annotations["prometheus.io/port"]; got != fmt.Sprint(ports["http"]) {
			t.Errorf("%s is scraped at port %s", name, got)
		}
		if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" ||
			c.ReadinessProbe.HTTPGet.Port != "http" || c.LivenessProbe.HTTPGet.Port != "http" {
			t.Errorf("%s has probes %+v and %+v", name, c.ReadinessProbe, c.LivenessProbe)
		}

		drain, err := time.ParseDuration(flags["drain-timeout"])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if grace := time.Duration(spec.TerminationGracePeriodSeconds) * time.Second; grace < drain+5*time.Second {
			t.Errorf("%s has %v to drain in %v", name, grace, drain)
		}
		limit, granted := parseBytes(t, flags["memory-limit"]), parseBytes(t, c.Resources.Limits["memory"])
		if granted < limit+limit/4 || c.Resources.Requests["memory"] != c.Resources.Limits["memory"] {
			t.Errorf("%s keeps below %s and gets %s", name, flags["memory-limit"], c.Resources.Limits["memory"])
		}

		ps, cs := spec.SecurityContext, c.SecurityContext
		if !ps.RunAsNonRoot || ps.RunAsUser != 10001 || ps.SeccompProfile.Type != "RuntimeDefault" || !cs.ReadOnlyRootFilesystem ||
			cs.AllowPrivilegeEscalation == nil || *cs.AllowPrivilegeEscalation || !slices.Equal(cs.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("%s may do more than it needs: %+v %+v", name, ps, cs)
		}

		withDisk := w.Kind == "StatefulSet"
		ingests := strings.Contains(flags["roles"], "ingest")
		switch {
		case withDisk != (flags["data-dir"] != "") || withDisk != (len(w.Spec.VolumeClaimTemplates) == 1):
			t.Errorf("%s is a %s with --data-dir=%s and %d volumes", name, w.Kind, flags["data-dir"], len(w.Spec.VolumeClaimTemplates))
		case !withDisk && ingests && flags["wal"] != "off":
			t.Errorf("%s takes records, and has no disk, and no --wal=off", name)
		case withDisk:
			claim := w.Spec.VolumeClaimTemplates[0]
			if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].Name != claim.Metadata.Name || c.VolumeMounts[0].MountPath != flags["data-dir"] {
				t.Errorf("%s has its volume at %+v, want it at %s", name, c.VolumeMounts, flags["data-dir"])
			}
			if parseBytes(t, claim.Spec.Resources.Requests["storage"]) < walBytesMax {
				t.Errorf("%s has too small a volume: %v", name, claim.Spec.Resources.Requests)
			}
			if keep := w.Spec.PersistentVolumeClaimRetentionPolicy; keep.WhenScaled != "Retain" || keep.WhenDeleted != "Retain" {
				t.Errorf("%s gives up volumes: %+v", name, keep)
			}
		}
	}
}

// TestEnvironment holds the names in the ConfigMap and the Secret to the flags.
func TestEnvironment(t *testing.T) {
	m := readManifests(t)
	wadi, err := localstack.BuildWadi(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(wadi, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]bool{}
	for _, s := range slices.Concat(m.configMaps, m.secrets) {
		for key := range s.Data {
			given[key] = true
		}
		for key := range s.StringData {
			given[key] = true
		}
	}
	for key := range given {
		if flag, ok := strings.CutPrefix(key, "WADI_"); ok {
			flag = "--" + strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
			if !regexp.MustCompile(`(?m)^\s+` + flag + `\b`).Match(help) {
				t.Errorf("%s is no setting of a node: there is no %s", key, flag)
			}
		} else if !strings.HasPrefix(key, "AWS_") {
			t.Errorf("nobody looks at %s", key)
		}
	}
	for _, key := range []string{"WADI_STORE", "WADI_PEER_SECRET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if !given[key] {
			t.Errorf("%s is not given", key)
		}
	}
	for _, w := range m.workloads {
		for _, from := range w.Spec.Template.Spec.Containers[0].EnvFrom {
			if from.ConfigMapRef.Name != "" && !slices.ContainsFunc(m.configMaps, hasName(from.ConfigMapRef.Name)) ||
				from.SecretRef.Name != "" && !slices.ContainsFunc(m.secrets, hasName(from.SecretRef.Name)) {
				t.Errorf("%s takes settings from %+v, which is not there", w.Metadata.Name, from)
			}
		}
	}
}

// TestScalingMetricsExist: what ingest scales on is what nodes have, or what the
// adapter makes of it.
func TestScalingMetricsExist(t *testing.T) {
	operations := readText(t, "../docs/OPERATIONS.md") // its table is held to the program
	var adapter struct {
		Rules struct {
			Custom []struct {
				SeriesQuery string `yaml:"seriesQuery"`
				Resources   struct {
					Overrides map[string]map[string]string `yaml:"overrides"`
				} `yaml:"resources"`
				Name struct {
					Matches string `yaml:"matches"`
					As      string `yaml:"as"`
				} `yaml:"name"`
				MetricsQuery string `yaml:"metricsQuery"`
			} `yaml:"custom"`
		} `yaml:"rules"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(readText(t, "prometheus-adapter/values.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&adapter); err != nil {
		t.Fatal(err)
	}
	offered := map[string]bool{}
	for _, rule := range adapter.Rules.Custom {
		var found []string
		for _, m := range regexp.MustCompile("(?m)^\\| `(wadi_[a-z_]+)`").FindAllStringSubmatch(operations, -1) {
			series := regexp.MustCompile(`\^(.*)\$"`).FindStringSubmatch(rule.SeriesQuery)
			if series != nil && regexp.MustCompile("^"+series[1]+"$").MatchString(m[1]) || strings.HasPrefix(rule.SeriesQuery, m[1]+"{") {
				found = append(found, m[1])
			}
		}
		if len(found) == 0 {
			t.Errorf("no node has a series %s", rule.SeriesQuery)
		}
		for _, name := range found {
			if rule.Name.As != "" && regexp.MustCompile(rule.Name.Matches).MatchString(name) {
				name = rule.Name.As
			}
			offered[name] = true
		}
	}
	wanted := 0
	for _, a := range readManifests(t).scalers {
		for _, metric := range a.Spec.Metrics {
			if metric.Type != "Pods" {
				continue
			}
			wanted++
			if !offered[metric.Pods.Metric.Name] {
				t.Errorf("%s scales on %s, which the adapter does not offer", a.Metadata.Name, metric.Pods.Metric.Name)
			}
		}
	}
	if wanted != 6 {
		t.Errorf("ingest scales on %d metrics in all", wanted)
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
