package localstack

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type composeService struct {
	Ports       []string
	Build       struct{ Target string }
	Command     []string
	Environment map[string]string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
}

type composeFile struct {
	Services map[string]composeService
	Volumes  map[string]any
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var compose composeFile
	if err := yaml.Unmarshal(mustRead(t, "../docker-compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	return compose
}

// TestComposeKeepsToLoopback: all that docker-compose.yml publishes is for this
// machine alone, and its MinIO is the one that the tests run on.
func TestComposeKeepsToLoopback(t *testing.T) {
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var published []string
	for name, service := range readCompose(t).Services {
		for _, port := range service.Ports {
			published = append(published, name)
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("service %s publishes %s", name, port)
			}
		}
		if !strings.Contains(string(dockerfile), " AS "+service.Build.Target+"\n") {
			t.Errorf("service %s is built from the target %q, which is not there", name, service.Build.Target)
		}
	}
	if slices.Sort(published); !slices.Equal(published, []string{"minio", "nginx"}) {
		t.Errorf("ports are published by %q", published)
	}
	if tool := MinIOTool(); !strings.Contains(string(dockerfile), tool.Package+"@"+tool.Version) {
		t.Error("the Dockerfile builds another MinIO than localstack does")
	}
	stages := regexp.MustCompile(`(?m)^FROM .* AS (\S+)$`).FindAllStringSubmatch(string(dockerfile), -1)
	if last := stages[len(stages)-1][1]; last != "wadi" {
		t.Errorf("without a target the image is that of %s", last)
	}
}

// TestComposeNodes: each node has its own volume and address, nginx knows all of
// them, and the settings are those of the program.
func TestComposeNodes(t *testing.T) {
	compose := readCompose(t)
	var nodes []string
	for name, service := range compose.Services {
		if service.Build.Target != "wadi" || !strings.HasPrefix(name, "node-") {
			continue
		}
		nodes = append(nodes, name)
		if want := []string{"serve", "--advertise=http://" + name + ":8081"}; !slices.Equal(service.Command, want) {
			t.Errorf("%s runs %q, want %q", name, service.Command, want)
		}
		if want := []string{name + ":" + service.Environment["WADI_DATA_DIR"]}; !slices.Equal(service.Volumes, want) {
			t.Errorf("%s has the volumes %q, want %q", name, service.Volumes, want)
		}
		if _, ok := compose.Volumes[name]; !ok {
			t.Errorf("%s has no volume", name)
		}
		if service.Environment["WADI_PEER_LISTEN"] != "0.0.0.0:8081" || service.Environment["WADI_LISTEN"] != "0.0.0.0:8080" {
			t.Errorf("%s listens elsewhere: %v", name, service.Environment)
		}
		if service.Environment["AWS_ACCESS_KEY_ID"] != compose.Services["minio"].Environment["MINIO_ROOT_USER"] ||
			service.Environment["AWS_SECRET_ACCESS_KEY"] != compose.Services["minio"].Environment["MINIO_ROOT_PASSWORD"] {
			t.Errorf("%s has no key to MinIO", name)
		}
		if compose.Services["nginx"].DependsOn[name].Condition != "service_healthy" {
			t.Errorf("nginx does not wait for %s, and ends if it does not find it", name)
		}
		args := service.Command
		for setting, value := range service.Environment {
			if flag, ok := strings.CutPrefix(setting, "WADI_"); ok {
				args = append(args, fmt.Sprintf("--%s=%s", strings.ToLower(strings.ReplaceAll(flag, "_", "-")), value))
			}
		}
		// Flags and their values are read before the help is printed.
		if output, err := exec.Command(wadi(t), append(args, "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
	slices.Sort(nodes)
	var servers []string
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+):8080 `).FindAllStringSubmatch(string(mustRead(t, "../deploy/nginx/nginx.conf")), -1) {
		servers = append(servers, m[1])
	}
	if len(nodes) != 3 || !slices.Equal(nodes, servers) {
		t.Errorf("the nodes are %q, and nginx has %q", nodes, servers)
	}
}
