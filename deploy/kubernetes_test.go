// Package deploy holds examples of how to run Wadi, and the tests that hold them
// to the program and to each other.
package deploy

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The types below have the fields of Kubernetes' objects that the manifests use,
// spelled as in its API, and no more. So a field that is misspelled, or stands in
// the wrong place, is not taken.

type meta struct {
	Name        string            `yaml:"name"`
	Namespace   string            `yaml:"namespace"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type workload struct {
	object `yaml:",inline"`
	Spec   struct {
		RevisionHistoryLimit int `yaml:"revisionHistoryLimit"`
		Strategy             struct {
			Type          string `yaml:"type"`
			RollingUpdate struct {
				MaxSurge       int `yaml:"maxSurge"`
				MaxUnavailable int `yaml:"maxUnavailable"`
			} `yaml:"rollingUpdate"`
		} `yaml:"strategy"` // of a Deployment
		ServiceName         string `yaml:"serviceName"` // this and the next of a StatefulSet
		PodManagementPolicy string `yaml:"podManagementPolicy"`
		UpdateStrategy      struct {
			Type string `yaml:"type"`
		} `yaml:"updateStrategy"`
		PersistentVolumeClaimRetentionPolicy struct {
			WhenDeleted string `yaml:"whenDeleted"`
			WhenScaled  string `yaml:"whenScaled"`
		} `yaml:"persistentVolumeClaimRetentionPolicy"`
		Selector             selector      `yaml:"selector"`
		Template             pod           `yaml:"template"`
		VolumeClaimTemplates []volumeClaim `yaml:"volumeClaimTemplates"`
	} `yaml:"spec"`
}

type volumeClaim struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		AccessModes []string `yaml:"accessModes"`
		Resources   struct {
			Requests map[string]string `yaml:"requests"`
		} `yaml:"resources"`
	} `yaml:"spec"`
}

type pod struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		ServiceAccountName            string `yaml:"serviceAccountName"`
		AutomountServiceAccountToken  bool   `yaml:"automountServiceAccountToken"`
		TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot   bool `yaml:"runAsNonRoot"`
			RunAsUser      int  `yaml:"runAsUser"`
			RunAsGroup     int  `yaml:"runAsGroup"`
			FSGroup        int  `yaml:"fsGroup"`
			SeccompProfile struct {
				Type string `yaml:"type"`
			} `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		TopologySpreadConstraints []struct {
			MaxSkew           int      `yaml:"maxSkew"`
			TopologyKey       string   `yaml:"topologyKey"`
			WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
			LabelSelector     selector `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		Containers []container `yaml:"containers"`
	} `yaml:"spec"`
}

type container struct {
	Name  string   `yaml:"name"`
	Image string   `yaml:"image"`
	Args  []string `yaml:"args"`
	Env   []struct {
		Name      string `yaml:"name"`
		ValueFrom struct {
			FieldRef struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	} `yaml:"env"`
	EnvFrom []struct {
		ConfigMapRef meta `yaml:"configMapRef"`
		SecretRef    meta `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Ports []struct {
		Name          string `yaml:"name"`
		ContainerPort int    `yaml:"containerPort"`
	} `yaml:"ports"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	Resources      struct {
		Requests map[string]string `yaml:"requests"`
		Limits   map[string]string `yaml:"limits"`
	} `yaml:"resources"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct {
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	TimeoutSeconds   int `yaml:"timeoutSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

type service struct {
	object `yaml:",inline"`
	Spec   struct {
		ClusterIP string            `yaml:"clusterIP"`
		Selector  map[string]string `yaml:"selector"`
		Ports     []struct {
			Name       string `yaml:"name"`
			Port       int    `yaml:"port"`
			TargetPort string `yaml:"targetPort"`
		} `yaml:"ports"`
	} `yaml:"spec"`
}

type disruptionBudget struct {
	object `yaml:",inline"`
	Spec   struct {
		MaxUnavailable int      `yaml:"maxUnavailable"`
		Selector       selector `yaml:"selector"`
	} `yaml:"spec"`
}

type autoscaler struct {
	object `yaml:",inline"`
	Spec   struct {
		ScaleTargetRef struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string `yaml:"kind"`
			Name       string `yaml:"name"`
		} `yaml:"scaleTargetRef"`
		MinReplicas int `yaml:"minReplicas"`
		MaxReplicas int `yaml:"maxReplicas"`
		Metrics     []struct {
			Type string `yaml:"type"`
			Pods struct {
				Metric struct {
					Name string `yaml:"name"`
				} `yaml:"metric"`
				Target struct {
					Type         string `yaml:"type"`
					AverageValue string `yaml:"averageValue"`
				} `yaml:"target"`
			} `yaml:"pods"`
			Resource struct {
				Name   string `yaml:"name"`
				Target struct {
					Type               string `yaml:"type"`
					AverageUtilization int    `yaml:"averageUtilization"`
				} `yaml:"target"`
			} `yaml:"resource"`
		} `yaml:"metrics"`
		Behavior struct {
			ScaleUp   scaling `yaml:"scaleUp"`
			ScaleDown scaling `yaml:"scaleDown"`
		} `yaml:"behavior"`
	} `yaml:"spec"`
}

type scaling struct {
	StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
	Policies                   []struct {
		Type          string `yaml:"type"`
		Value         int    `yaml:"value"`
		PeriodSeconds int    `yaml:"periodSeconds"`
	} `yaml:"policies"`
}

type networkPolicy struct {
	object `yaml:",inline"`
	Spec   struct {
		PodSelector selector `yaml:"podSelector"`
		PolicyTypes []string `yaml:"policyTypes"`
		Ingress     []struct {
			From []struct {
				PodSelector selector `yaml:"podSelector"`
			} `yaml:"from"`
			Ports []struct {
				Protocol string `yaml:"protocol"`
				Port     string `yaml:"port"`
			} `yaml:"ports"`
		} `yaml:"ingress"`
	} `yaml:"spec"`
}

type settings struct {
	object     `yaml:",inline"`
	Type       string            `yaml:"type"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
}

type serviceAccount struct {
	object                       `yaml:",inline"`
	AutomountServiceAccountToken *bool `yaml:"automountServiceAccountToken"`
}

// manifests is all of deploy/kubernetes.
type manifests struct {
	objects    []object
	workloads  []workload
	services   []service
	budgets    []disruptionBudget
	scalers    []autoscaler
	policies   []networkPolicy
	configMaps []settings
	secrets    []settings
	accounts   []serviceAccount
}

// decode reads the document into a T, and takes no field that T lacks.
func decode[T any](t *testing.T, name string, document []byte) T {
	t.Helper()
	var into T
	decoder := yaml.NewDecoder(bytes.NewReader(document))
	decoder.KnownFields(true)
	if err := decoder.Decode(&into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return into
}

func readManifests(t *testing.T) *manifests {
	t.Helper()
	names, err := filepath.Glob("kubernetes/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no manifests (%v)", err)
	}
	m := &manifests{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		documents := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var node yaml.Node
			if err := documents.Decode(&node); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			document, err := yaml.Marshal(&node)
			if err != nil {
				t.Fatal(err)
			}
			m.add(t, name, document)
		}
	}
	return m
}

func (m *manifests) add(t *testing.T, name string, document []byte) {
	t.Helper()
	var o object
	if err := yaml.Unmarshal(document, &o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	m.objects = append(m.objects, o)
	switch o.APIVersion + " " + o.Kind {
	case "v1 Namespace":
		decode[object](t, name, document)
	case "v1 ConfigMap":
		m.configMaps = append(m.configMaps, decode[settings](t, name, document))
	case "v1 Secret":
		m.secrets = append(m.secrets, decode[settings](t, name, document))
	case "v1 ServiceAccount":
		m.accounts = append(m.accounts, decode[serviceAccount](t, name, document))
	case "v1 Service":
		m.services = append(m.services, decode[service](t, name, document))
	case "apps/v1 Deployment", "apps/v1 StatefulSet":
		m.workloads = append(m.workloads, decode[workload](t, name, document))
	case "policy/v1 PodDisruptionBudget":
		m.budgets = append(m.budgets, decode[disruptionBudget](t, name, document))
	case "autoscaling/v2 HorizontalPodAutoscaler":
		m.scalers = append(m.scalers, decode[autoscaler](t, name, document))
	case "networking.k8s.io/v1 NetworkPolicy":
		m.policies = append(m.policies, decode[networkPolicy](t, name, document))
	default:
		t.Errorf("%s has a %s %s, which this test does not know", name, o.APIVersion, o.Kind)
	}
}

// selects lists the workloads whose pods have the labels.
func (m *manifests) selects(labels map[string]string) (names []string) {
	for _, w := range m.workloads {
		matches := len(labels) > 0
		for key, value := range labels {
			matches = matches && w.Spec.Template.Metadata.Labels[key] == value
		}
		if matches {
			names = append(names, w.Metadata.Name)
		}
	}
	return names
}

func hasName(name string) func(settings) bool {
	return func(s settings) bool { return s.Metadata.Name == name }
}

// TestManifestsAgree follows the names from one object to the other.
func TestManifestsAgree(t *testing.T) {
	m := readManifests(t)
	seen := map[[2]string]bool{}
	for _, o := range m.objects {
		id := [2]string{o.Kind, o.Metadata.Name}
		if seen[id] {
			t.Errorf("%v is there twice", id)
		}
		seen[id] = true
		if o.Kind != "Namespace" && o.Metadata.Namespace != "wadi" {
			t.Errorf("%v is in namespace %q", id, o.Metadata.Namespace)
		}
	}
	kinds := map[string]int{}
	for _, w := range m.workloads {
		kinds[w.Kind]++
		name := w.Metadata.Name
		if got := m.selects(w.Spec.Selector.MatchLabels); !slices.Equal(got, []string{name}) {
			t.Errorf("the selector of %s finds the pods of %q", name, got)
		}
		for _, c := range w.Spec.Template.Spec.TopologySpreadConstraints {
			if got := m.selects(c.LabelSelector.MatchLabels); !slices.Equal(got, []string{name}) {
				t.Errorf("%s is spread over %s beside the pods of %q", name, c.TopologyKey, got)
			}
		}
		if !seen[[2]string{"ServiceAccount", w.Spec.Template.Spec.ServiceAccountName}] {
			t.Errorf("%s has no service account", name)
		}
		if w.Kind == "StatefulSet" && !slices.ContainsFunc(m.services, func(s service) bool {
			return s.Metadata.Name == w.Spec.ServiceName && s.Spec.ClusterIP == "None"
		}) {
			t.Errorf("%s has no headless service %s", name, w.Spec.ServiceName)
		}
		served, spared := 0, 0
		for _, s := range m.services {
			if slices.Equal(m.selects(s.Spec.Selector), []string{name}) && s.Spec.ClusterIP != "None" {
				served++
			}
		}
		for _, b := range m.budgets {
			if slices.Equal(m.selects(b.Spec.Selector.MatchLabels), []string{name}) && b.Spec.MaxUnavailable == 1 {
				spared++
			}
		}
		scaled := slices.ContainsFunc(m.scalers, func(a autoscaler) bool {
			to := a.Spec.ScaleTargetRef
			return to.APIVersion == w.APIVersion && to.Kind == w.Kind && to.Name == name && a.Spec.MinReplicas >= 2
		})
		if served != 1 || spared != 1 || !scaled {
			t.Errorf("%s has %d services and %d disruption budgets, want one of each; an autoscaler: %v", name, served, spared, scaled)
		}
	}
	if kinds["Deployment"] != 2 || kinds["StatefulSet"] != 1 || len(m.scalers) != 3 {
		t.Errorf("there are %v, and %d autoscalers", kinds, len(m.scalers))
	}
	for _, s := range m.services {
		if len(m.selects(s.Spec.Selector)) != 1 {
			t.Errorf("service %s selects %q", s.Metadata.Name, m.selects(s.Spec.Selector))
		}
		for _, p := range s.Spec.Ports {
			if p.TargetPort != "http" {
				t.Errorf("service %s leads to the port %s", s.Metadata.Name, p.TargetPort)
			}
		}
	}
	for _, a := range m.accounts {
		if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
			t.Errorf("pods of %s get a token", a.Metadata.Name)
		}
	}
}

// TestPeerPortIsClosed: only nodes get to the port for nodes.
func TestPeerPortIsClosed(t *testing.T) {
	m := readManifests(t)
	if len(m.policies) != 1 {
		t.Fatalf("there are %d network policies", len(m.policies))
	}
	p := m.policies[0]
	if len(m.selects(p.Spec.PodSelector.MatchLabels)) != len(m.workloads) || !slices.Equal(p.Spec.PolicyTypes, []string{"Ingress"}) {
		t.Errorf("the policy is not for what comes to all pods: %+v", p.Spec)
	}
	open := map[string]bool{}
	for _, rule := range p.Spec.Ingress {
		if len(rule.Ports) == 0 {
			t.Error("a rule opens all ports")
		}
		for _, port := range rule.Ports {
			open[port.Port] = true
			if port.Port == "http" {
				continue
			}
			if len(rule.From) == 0 {
				t.Errorf("the port %s is open to all", port.Port)
			}
			for _, from := range rule.From {
				if len(m.selects(from.PodSelector.MatchLabels)) != len(m.workloads) {
					t.Errorf("the port %s is not for all nodes: %v", port.Port, from)
				}
			}
		}
	}
	if !open["http"] || !open["peers"] {
		t.Errorf("open are %v", open)
	}
}
