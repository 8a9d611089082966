package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	disruption "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The one Secret that a deployment brings itself.
const secrets = "tideline-secrets"

// Variables that no manifest may give a value.
var confidential = regexp.MustCompile(`PASSWORD|SECRET|ACCESS_KEY|TOKEN`)

// A variable that is read: ${NAME} or ${NAME:-default}, not $${NAME}. One with a default must be given, too: nobody could set it otherwise.
var read = regexp.MustCompile(`(?:^|[^$])\$\{([A-Z0-9_]+)(?::-[^}]*)?\}`)

// What leads nowhere, and what does not fit together.
func (s set) references(pipelines string) []string {
	var problems []string
	wrong := func(format string, arguments ...any) { problems = append(problems, fmt.Sprintf(format, arguments...)) }
	workloads := s.workloads()
	selected := func(namespace string, selector labels.Selector) []workload {
		var found []workload
		for _, w := range workloads {
			if w.namespace == namespace && selector.Matches(labels.Set(w.labels)) {
				found = append(found, w)
			}
		}
		return found
	}
	for _, w := range workloads {
		problems = append(problems, s.contents(w)...)
	}
	for _, o := range s.objects {
		switch made := o.Object.(type) {
		case *core.Service:
			chosen := selected(o.namespace, labels.SelectorFromSet(made.Spec.Selector))
			if len(chosen) != 1 {
				wrong("%s: selects %d workloads", o, len(chosen))
				continue
			}
			for _, port := range made.Spec.Ports {
				if port.TargetPort.Type == intstr.String && portNamed(chosen[0].spec, port.TargetPort.StrVal) == 0 {
					wrong("%s: %s has no port %s", o, chosen[0], port.TargetPort.StrVal)
				}
			}
		case *disruption.PodDisruptionBudget:
			selector, err := metav1.LabelSelectorAsSelector(made.Spec.Selector)
			if chosen := selected(o.namespace, selector); err != nil || len(chosen) != 1 {
				wrong("%s: selects %d workloads", o, len(chosen))
			}
			if made.Spec.MaxUnavailable == nil || made.Spec.MaxUnavailable.IntVal < 1 {
				wrong("%s: no node could be emptied", o)
			}
		case *autoscaling.HorizontalPodAutoscaler:
			problems = append(problems, s.scaled(o, made, workloads)...)
		case *core.Secret:
			if made.Namespace == "tideline" {
				wrong("%s: secrets do not belong here", o)
			}
		}
	}
	partitions, files, err := definitions(pipelines)
	if err != nil {
		return append(problems, err.Error())
	}
	for _, o := range s.objects {
		if scaler, ok := o.Object.(*autoscaling.HorizontalPodAutoscaler); ok && scaler.Spec.ScaleTargetRef.Name == "tideline-speed" && scaler.Spec.MaxReplicas > partitions {
			wrong("%s: %d workers, and %d partitions in all: some would stand idle", o, scaler.Spec.MaxReplicas, partitions)
		}
		if made, ok := o.Object.(*core.ConfigMap); ok && strings.HasPrefix(o.name, "tideline-pipelines") {
			for _, file := range files {
				if _, there := made.Data[file]; !there {
					wrong("%s: lacks %s: name it in schema/pipelines/kustomization.yaml", o, file)
				}
			}
		}
	}
	return problems
}

// What the containers of a workload refer to.
func (s set) contents(w workload) []string {
	var problems []string
	wrong := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf("%s: ", w)+fmt.Sprintf(format, arguments...))
	}
	texts := ""
	for _, volume := range w.spec.Volumes {
		if volume.ConfigMap == nil {
			continue
		}
		config, there := find[*core.ConfigMap](s, w.namespace, volume.ConfigMap.Name)
		if !there {
			wrong("no ConfigMap %s", volume.ConfigMap.Name)
			continue
		}
		for _, text := range config.Data {
			texts += withoutComments(text)
		}
	}
	for _, container := range w.spec.Containers {
		given := map[string]bool{}
		for _, source := range container.EnvFrom {
			if source.ConfigMapRef == nil {
				continue
			}
			config, there := find[*core.ConfigMap](s, w.namespace, source.ConfigMapRef.Name)
			if !there {
				wrong("no ConfigMap %s", source.ConfigMapRef.Name)
				continue
			}
			for name := range config.Data {
				given[name] = true
				if confidential.MatchString(name) {
					wrong("%s is a secret in a ConfigMap", name)
				}
			}
		}
		for _, variable := range container.Env {
			given[variable.Name] = true
			if variable.Value != "" && confidential.MatchString(variable.Name) {
				wrong("%s has a value in the manifest", variable.Name)
			}
			if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
				continue
			}
			reference := variable.ValueFrom.SecretKeyRef
			held, there := s.secret(w.namespace, reference.Name)
			if !there && reference.Name != secrets {
				wrong("no Secret %s", reference.Name)
			}
			_, hasData := held[reference.Key]
			if there && !hasData && (reference.Optional == nil || !*reference.Optional) {
				wrong("the Secret %s has no %s", reference.Name, reference.Key)
			}
		}
		for _, found := range read.FindAllStringSubmatch(texts, -1) {
			if !given[found[1]] {
				wrong("nothing gives ${%s}, which its configuration reads", found[1])
			}
		}
	}
	return problems
}

func (s set) secret(namespace, name string) (map[string]bool, bool) {
	keys := map[string]bool{}
	secret, there := find[*core.Secret](s, namespace, name)
	if there {
		for key := range secret.Data {
			keys[key] = true
		}
		for key := range secret.StringData {
			keys[key] = true
		}
	}
	return keys, there
}

func (s set) scaled(o object, scaler *autoscaling.HorizontalPodAutoscaler, workloads []workload) []string {
	var problems []string
	found := false
	for _, w := range workloads {
		if w.namespace != o.namespace || w.kind != scaler.Spec.ScaleTargetRef.Kind || w.name != scaler.Spec.ScaleTargetRef.Name {
			continue
		}
		found = true
		if w.replicas != nil {
			problems = append(problems, fmt.Sprintf("%s: has replicas, which each apply would set back from what %s has chosen", w, o))
		}
		for _, container := range w.spec.Containers {
			if container.Resources.Requests.Cpu().IsZero() {
				problems = append(problems, fmt.Sprintf("%s: no request of CPU, of which %s takes a share", w, o))
			}
		}
	}
	if !found {
		problems = append(problems, fmt.Sprintf("%s: no %s %s", o, scaler.Spec.ScaleTargetRef.Kind, scaler.Spec.ScaleTargetRef.Name))
	}
	return problems
}

// All partitions of the topics of all sources, and the files that define them.
func definitions(folder string) (int32, []string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.toml"))
	if err != nil || len(paths) == 0 {
		return 0, nil, fmt.Errorf("%s holds no definition: %w", folder, err)
	}
	var names []string
	var partitions int64
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, nil, err
		}
		var definition struct {
			Sources map[string]struct{ Partitions any }
		}
		if _, err := toml.Decode(string(text), &definition); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, source := range definition.Sources {
			if count, ok := source.Partitions.(int64); ok {
				partitions += count
			} else {
				partitions += 2 // The default.
			}
		}
		names = append(names, filepath.Base(path))
	}
	return int32(partitions), names, nil
}

func withoutComments(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func portNamed(spec core.PodSpec, name string) int32 {
	for _, container := range spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name {
				return port.ContainerPort
			}
		}
	}
	return 0
}
