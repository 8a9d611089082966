package main

import (
	"bytes"
	"fmt"
	"sort"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// An object of a manifest, as it is written.
type object struct {
	runtime.Object
	kind, name, namespace string
}

func (o object) String() string { return fmt.Sprintf("%s %s/%s", o.kind, o.namespace, o.name) }

// All objects of a folder.
type set struct{ objects []object }

// What kustomize makes of a folder, every document decoded strictly: no unknown field, none twice.
func build(folder string) (set, []string) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return set{}, []string{err.Error()}
	}
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	var found set
	var problems []string
	for _, resource := range made.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		decoded, gvk, err := codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", resource.CurId(), err))
			continue
		}
		if bytes.Contains(text, []byte("kind: any")) {
			problems = append(problems, fmt.Sprintf("%s: a patch has met nothing", resource.CurId()))
		}
		accessor, err := meta.Accessor(decoded)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		found.objects = append(found.objects, object{decoded, gvk.Kind, accessor.GetName(), accessor.GetNamespace()})
	}
	sort.Slice(found.objects, func(a, b int) bool { return found.objects[a].String() < found.objects[b].String() })
	return found, problems
}

// A workload: what makes pods.
type workload struct {
	object
	labels map[string]string
	spec   core.PodSpec
	// How many pods the manifest asks for; nil where it leaves that to somebody else.
	replicas *int32
	template core.PodTemplateSpec
}

// Whether it is a process of the platform that stands.
func (w workload) stands() bool { return w.kind == "Deployment" && w.ours() }

func (w workload) ours() bool { return w.labels["app.kubernetes.io/name"] == "tideline" }

func (w workload) role() string { return w.labels["app.kubernetes.io/component"] }

func (s set) workloads() []workload {
	var found []workload
	add := func(o object, template core.PodTemplateSpec, replicas *int32) {
		found = append(found, workload{o, template.Labels, template.Spec, replicas, template})
	}
	for _, o := range s.objects {
		switch made := o.Object.(type) {
		case *apps.Deployment:
			add(o, made.Spec.Template, made.Spec.Replicas)
		case *apps.StatefulSet:
			add(o, made.Spec.Template, made.Spec.Replicas)
		case *batch.Job:
			add(o, made.Spec.Template, nil)
		}
	}
	return found
}

// The object of a kind and name in a namespace.
func find[T runtime.Object](s set, namespace, name string) (T, bool) {
	for _, o := range s.objects {
		if made, ok := o.Object.(T); ok && o.namespace == namespace && o.name == name {
			return made, true
		}
	}
	var none T
	return none, false
}
