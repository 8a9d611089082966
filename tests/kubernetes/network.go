package main

import (
	"fmt"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Something that talks, or is talked to: a pod, or an address outside.
type peer struct {
	name      string
	namespace string
	// Of the namespace, and of the pod. Nil: an address.
	spaceLabels, labels map[string]string
	address             netip.Addr
	ports               map[string]int32
}

// Who may talk to whom; nobody else may.
var allowed = map[string][]string{
	"ingest":     {"kafka:9092", "minio:9000", "internet:443", "dns:53"},
	"speed":      {"kafka:9092", "minio:9000", "scylla:9042", "internet:443", "dns:53"},
	"batch":      {"kafka:9092", "minio:9000", "scylla:9042", "clickhouse", "dns:53"},
	"serve":      {"kafka:9092", "minio:9000", "scylla:9042", "clickhouse", "dns:53"},
	"migrate":    {"kafka:9092", "minio:9000", "scylla:9042", "clickhouse", "dns:53"},
	"client":     {"ingest:8080", "serve:8080"},
	"prometheus": {"ingest:8080", "speed:8080", "batch:8080", "serve:8080"},
	"stranger":   {},
}

// Ports that are asked about.
var ports = []int32{22, 53, 80, 443, 8080, 8123, 8443, 9000, 9042, 9092}

// Asks for every pair whether they may talk, and compares with what is wanted.
func (s set) network() (int, []string) {
	var namespace string
	talking := map[string]peer{}
	for _, w := range s.workloads() {
		if w.ours() {
			namespace = w.namespace
			own := peer{name: w.role(), namespace: w.namespace, spaceLabels: s.labelsOf(w.namespace), labels: w.labels, ports: map[string]int32{}}
			for _, port := range w.spec.Containers[0].Ports {
				own.ports[port.Name] = port.ContainerPort
			}
			talking[w.role()] = own
		}
	}
	outside := func(name, space, access string, labels map[string]string) {
		spaceLabels := map[string]string{"kubernetes.io/metadata.name": space}
		if access != "" {
			spaceLabels["tideline-access"] = access
		}
		talking[name] = peer{name: name, namespace: space, spaceLabels: spaceLabels, labels: labels}
	}
	outside("client", "ingress", "clients", map[string]string{"app": "ingress"})
	outside("prometheus", "monitoring", "monitoring", map[string]string{"app.kubernetes.io/name": "prometheus"})
	outside("stranger", "elsewhere", "", map[string]string{"app.kubernetes.io/name": "kafka"})
	outside("dns", "kube-system", "", map[string]string{"k8s-app": "kube-dns"})
	for _, store := range []string{"kafka", "minio", "scylla", "clickhouse"} {
		outside(store, "tideline-stores", "stores", map[string]string{"app.kubernetes.io/name": store})
	}
	for name, address := range map[string]string{"internet": "93.184.216.34", "metadata": "169.254.169.254", "office": "10.1.2.3"} {
		talking[name] = peer{name: name, address: netip.MustParseAddr(address)}
	}
	// What the overlay really runs stands in for what is assumed of stores.
	for _, w := range s.workloads() {
		if name := w.labels["app.kubernetes.io/name"]; !w.ours() && slices.Contains([]string{"kafka", "minio", "scylla", "clickhouse"}, name) {
			talking[name] = peer{name: name, namespace: w.namespace, spaceLabels: s.labelsOf(w.namespace), labels: w.labels}
		}
	}
	if namespace == "" {
		return 0, []string{"no process of the platform"}
	}
	policies := s.policies()
	var problems []string
	asked := 0
	for _, from := range talking {
		if _, talks := allowed[from.name]; !talks {
			continue
		}
		for _, to := range talking {
			if to.name == from.name {
				continue
			}
			open := 0
			for _, port := range ports {
				asked++
				may, wanted := policies.allow(from, to, port), wants(from.name, to.name, port)
				if may {
					open++
				}
				// Over which of its two ports ClickHouse is spoken to depends on TLS: one of them.
				if to.name == "clickhouse" && (port == 8123 || port == 8443) {
					continue
				}
				// What concerns none of ours is not for us to decide.
				if from.namespace != namespace && to.namespace != namespace {
					continue
				}
				if may != wanted {
					problems = append(problems, fmt.Sprintf("network: %s to %s:%d: allowed is %t, and should be %t", from.name, to.name, port, may, wanted))
				}
			}
			if to.name == "clickhouse" && from.namespace == namespace && (open == 1) != slices.Contains(allowed[from.name], "clickhouse") {
				problems = append(problems, fmt.Sprintf("network: %s to clickhouse: %d ports are open", from.name, open))
			}
		}
	}
	slices.Sort(problems)
	return asked, problems
}

func wants(from, to string, port int32) bool {
	return slices.Contains(allowed[from], fmt.Sprintf("%s:%d", to, port))
}

func (s set) labelsOf(namespace string) map[string]string {
	found := map[string]string{"kubernetes.io/metadata.name": namespace}
	if space, there := find[*core.Namespace](s, "", namespace); there {
		for key, value := range space.Labels {
			found[key] = value
		}
	}
	return found
}

type policies []*networking.NetworkPolicy

func (s set) policies() policies {
	var found policies
	for _, o := range s.objects {
		if policy, ok := o.Object.(*networking.NetworkPolicy); ok {
			found = append(found, policy)
		}
	}
	return found
}

// Whether a connection is allowed: out of the one, and into the other.
func (p policies) allow(from, to peer, port int32) bool {
	out := p.side(from, networking.PolicyTypeEgress, func(policy *networking.NetworkPolicy) bool {
		return slices.ContainsFunc(policy.Spec.Egress, func(rule networking.NetworkPolicyEgressRule) bool {
			return matchesPeers(policy.Namespace, rule.To, to) && matchesPorts(rule.Ports, to, port)
		})
	})
	in := p.side(to, networking.PolicyTypeIngress, func(policy *networking.NetworkPolicy) bool {
		return slices.ContainsFunc(policy.Spec.Ingress, func(rule networking.NetworkPolicyIngressRule) bool {
			return matchesPeers(policy.Namespace, rule.From, from) && matchesPorts(rule.Ports, to, port)
		})
	})
	return out && in
}

// One side of a connection: everything is allowed unless a policy selects the pod, and then what one of them allows.
func (p policies) side(of peer, direction networking.PolicyType, allows func(*networking.NetworkPolicy) bool) bool {
	isolated := false
	for _, policy := range p {
		if of.labels == nil || policy.Namespace != of.namespace || !slices.Contains(policy.Spec.PolicyTypes, direction) || !selects(&policy.Spec.PodSelector, of.labels) {
			continue
		}
		isolated = true
		if allows(policy) {
			return true
		}
	}
	return !isolated
}

func matchesPeers(namespace string, peers []networking.NetworkPolicyPeer, other peer) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networking.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return other.address.IsValid() && within(peer.IPBlock, other.address)
		}
		if other.labels == nil {
			return false
		}
		if peer.NamespaceSelector == nil {
			return other.namespace == namespace && selects(peer.PodSelector, other.labels)
		}
		return selects(peer.NamespaceSelector, other.spaceLabels) && (peer.PodSelector == nil || selects(peer.PodSelector, other.labels))
	})
}

func matchesPorts(ports []networking.NetworkPolicyPort, to peer, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(allowed networking.NetworkPolicyPort) bool {
		if allowed.Protocol != nil && *allowed.Protocol != core.ProtocolTCP {
			return false
		}
		if allowed.Port == nil {
			return true
		}
		if allowed.Port.Type == intstr.String {
			return to.ports[allowed.Port.StrVal] == port
		}
		return allowed.Port.IntVal == port
	})
}

func within(block *networking.IPBlock, address netip.Addr) bool {
	inside := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(cidr)
		return err == nil && prefix.Contains(address)
	}
	return inside(block.CIDR) && !slices.ContainsFunc(block.Except, inside)
}

func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	made, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && made.Matches(labels.Set(of))
}
