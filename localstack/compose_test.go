package localstack

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestComposeKeepsToLoopback: all that docker-compose.yml publishes is for this
// machine alone, and its MinIO is the one that the tests run on.
func TestComposeKeepsToLoopback(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Ports []string
			Build struct{ Target string }
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	published := 0
	for name, service := range compose.Services {
		for _, port := range service.Ports {
			published++
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("service %s publishes %s", name, port)
			}
		}
		if !strings.Contains(string(dockerfile), " AS "+service.Build.Target+"\n") {
			t.Errorf("service %s is built from the target %q, which is not there", name, service.Build.Target)
		}
	}
	if published != 2 {
		t.Errorf("%d ports are published, want two", published)
	}
	if tool := MinIOTool(); !strings.Contains(string(dockerfile), tool.Package+"@"+tool.Version) {
		t.Error("the Dockerfile builds another MinIO than localstack does")
	}
}
