package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// The roles that a deployment has.
var roles = []string{"ingest", "speed", "batch", "serve"}

// An image that docker-compose.yml takes where nothing else is said.
var composed = regexp.MustCompile(`\$\{[A-Z_]+_IMAGE:-([^}]+)\}`)

// What a process must have beyond what a cluster asks. Servers are of the same versions as those of docker-compose.yml.
func (s set) processes(compose string) []string {
	var problems []string
	text, err := os.ReadFile(compose)
	if err != nil {
		return []string{err.Error()}
	}
	images := map[string]bool{}
	for _, found := range composed.FindAllStringSubmatch(string(text), -1) {
		images[found[1]] = true
	}
	seen := map[string]bool{}
	for _, w := range s.workloads() {
		wrong := func(format string, arguments ...any) {
			problems = append(problems, fmt.Sprintf("%s: ", w)+fmt.Sprintf(format, arguments...))
		}
		for _, container := range w.spec.Containers {
			if _, tag, tagged := strings.Cut(container.Image, ":"); !tagged || tag == "latest" {
				wrong("image %s has no version", container.Image)
			}
			if !w.ours() && !images[container.Image] {
				wrong("docker-compose.yml has another image than %s", container.Image)
			}
			for _, list := range []core.ResourceList{container.Resources.Requests, container.Resources.Limits} {
				if list.Cpu().IsZero() || list.Memory().IsZero() {
					wrong("requests and limits of CPU and memory are not complete")
				}
			}
		}
		if mounted := w.spec.AutomountServiceAccountToken; mounted == nil || *mounted {
			wrong("is given a token of the cluster's API")
		}
		if !w.ours() {
			continue
		}
		if len(w.spec.Containers) != 1 || !slices.Equal(w.spec.Containers[0].Args, []string{w.role()}) {
			wrong("does not run `tideline %s` in one container", w.role())
			continue
		}
		container := w.spec.Containers[0]
		if read := container.SecurityContext; read == nil || read.ReadOnlyRootFilesystem == nil || !*read.ReadOnlyRootFilesystem {
			wrong("may write to its root file system")
		}
		if !w.stands() {
			continue
		}
		seen[w.role()] = true
		probe := func(what string, probe *core.Probe, path string) {
			if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || portNamed(w.spec, probe.HTTPGet.Port.StrVal) != 8080 {
				wrong("no %s probe of %s", what, path)
			}
		}
		probe("startup", container.StartupProbe, "/healthz")
		probe("liveness", container.LivenessProbe, "/healthz")
		probe("readiness", container.ReadinessProbe, "/readyz")
		// An ordered end takes up to 30 s (speed.shutdown_timeout) and 20 s (close.handover_timeout).
		if grace := w.spec.TerminationGracePeriodSeconds; grace == nil || *grace < 60 {
			wrong("is killed before it has ended in order")
		}
		if w.template.Annotations["prometheus.io/scrape"] != "true" || w.template.Annotations["prometheus.io/port"] != "8080" {
			wrong("Prometheus does not ask it")
		}
		if made, ok := w.Object.(*apps.Deployment); ok && w.role() == "batch" && made.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType {
			wrong("two of it at once")
		}
	}
	for _, role := range roles {
		if !seen[role] {
			problems = append(problems, fmt.Sprintf("no Deployment of role %s", role))
		}
	}
	return problems
}
