package main

import (
	"context"
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	request "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// How the API server takes in each kind that the manifests may have.
var strategies = map[string]rest.RESTCreateStrategy{
	"ConfigMap":               configmap.Strategy,
	"Deployment":              deployment.Strategy,
	"HorizontalPodAutoscaler": horizontalpodautoscaler.Strategy,
	"Job":                     job.Strategy,
	"Namespace":               namespace.Strategy,
	"NetworkPolicy":           networkpolicy.Strategy,
	"PodDisruptionBudget":     poddisruptionbudget.Strategy,
	"Secret":                  secret.Strategy,
	"Service":                 service.Strategy,
	"ServiceAccount":          serviceaccount.Strategy,
	"StatefulSet":             statefulset.Strategy,
}

// What the API server would refuse, or warn of.
func (s set) taken() []string {
	var problems []string
	levels := map[string]string{}
	for _, o := range s.objects {
		if space, ok := o.Object.(*core.Namespace); ok {
			levels[o.name] = space.Labels[podsecurity.EnforceLevelLabel]
		}
	}
	for _, o := range s.objects {
		strategy, known := strategies[o.kind]
		if !known {
			problems = append(problems, fmt.Sprintf("%s: no kind that is checked", o))
			continue
		}
		if err := taken(o, strategy); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", o, err))
		}
		if strategy.NamespaceScoped() {
			if _, there := levels[o.namespace]; !there {
				problems = append(problems, fmt.Sprintf("%s: the namespace is not there", o))
			}
		}
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return append(problems, err.Error())
	}
	for _, w := range s.workloads() {
		level, err := podsecurity.ParseLevel(levels[w.namespace])
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: the namespace enforces no level of Pod Security: %v", w, err))
			continue
		}
		results := evaluator.EvaluatePod(podsecurity.LevelVersion{Level: level, Version: podsecurity.LatestVersion()}, &w.template.ObjectMeta, &w.spec)
		if result := policy.AggregateCheckResults(results); !result.Allowed {
			problems = append(problems, fmt.Sprintf("%s: Pod Security %s: %s", w, level, result.ForbiddenDetail()))
		}
	}
	return problems
}

func taken(o object, strategy rest.RESTCreateStrategy) error {
	made := o.Object.DeepCopyObject()
	gvk := made.GetObjectKind().GroupVersionKind()
	legacyscheme.Scheme.Default(made)
	internal, err := legacyscheme.Scheme.ConvertToVersion(made, schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return err
	}
	written, err := meta.Accessor(internal)
	if err != nil {
		return err
	}
	rest.FillObjectMetaSystemFields(written)
	ctx := request.WithNamespace(context.Background(), o.namespace)
	if !strategy.NamespaceScoped() {
		ctx = request.WithNamespace(context.Background(), metav1.NamespaceNone)
	}
	resource := strings.ToLower(o.kind) + "s"
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, Verb: "create", APIGroup: gvk.Group, APIVersion: gvk.Version, Resource: resource, Namespace: o.namespace, Name: o.name,
	})
	if err := rest.BeforeCreate(strategy, ctx, internal); err != nil {
		return err
	}
	if warnings := strategy.WarningsOnCreate(ctx, internal); len(warnings) > 0 {
		return fmt.Errorf("the API server warns: %s", strings.Join(warnings, "; "))
	}
	return nil
}
