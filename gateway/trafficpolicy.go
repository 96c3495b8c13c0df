package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/router"
)

const kindTrafficPolicy = "XBackendTrafficPolicy"

// What RetryConstraint has where it says nothing.
const (
	defaultRetryPercent     = 20
	defaultRetryInterval    = 10 * time.Second
	defaultMinRetryCount    = 10
	defaultMinRetryInterval = time.Second
)

// trafficPolicy is an XBackendTrafficPolicy (GEP-3388, GEP-1619) as it was read.
type trafficPolicy struct {
	*gatewayx.XBackendTrafficPolicy
	ref      ObjectRef
	budget   router.RetryBudget
	session  *router.Session
	accepted condition
	// ancestors are the Gateways whose Routes use a target, with the Accepted condition for each.
	ancestors map[ObjectRef]condition
}

// readTrafficPolicies reads all XBackendTrafficPolicies, the oldest first: of several for one
// Service it is the one that counts.
func (b *build) readTrafficPolicies() {
	policies := slices.Clone(b.BackendTrafficPolicies)
	slices.SortFunc(policies, func(x, y *gatewayx.XBackendTrafficPolicy) int { return byAge(x, y) })
	for _, p := range policies {
		policy := &trafficPolicy{
			XBackendTrafficPolicy: p, ref: ObjectRef{kindTrafficPolicy, p.Namespace, p.Name},
			ancestors: make(map[ObjectRef]condition),
		}
		policy.read()
		b.trafficPolicies = append(b.trafficPolicies, policy)
		for i, t := range p.Spec.TargetRefs {
			if name, ok := b.policyService(policy.ref, i, &t); ok {
				b.trafficTargets[name] = append(b.trafficTargets[name], policy)
			}
		}
	}
}

// read reads what the policy wants. One with a mistake has no effect at all.
func (p *trafficPolicy) read() {
	parser := newRouteParser(p.ref, nil)
	p.session = parser.session("spec.sessionPersistence", p.Spec.SessionPersistence) //nolint:staticcheck // deprecated, and still served by the API
	if c := p.Spec.RetryConstraint; c != nil {
		p.budget = parser.retryBudget("spec.retryConstraint", c)
	}
	p.accepted = truth(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonAccepted, "valid and supported")
	if wrong := parser.parsed.invalid; len(wrong) > 0 {
		p.budget, p.session = router.RetryBudget{}, nil
		p.accepted = falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonInvalid, wrong[0].text())
	}
}

// retryBudget parses a RetryConstraint.
func (p *routeParser) retryBudget(field string, c *gatewayx.RetryConstraint) router.RetryBudget {
	budget := router.RetryBudget{
		Interval: defaultRetryInterval, Percent: defaultRetryPercent, MinCount: defaultMinRetryCount, MinInterval: defaultMinRetryInterval,
	}
	if d := c.Budget; d != nil {
		if d.Percent != nil {
			budget.Percent = *d.Percent
		}
		if d.Interval != nil {
			budget.Interval = p.duration(field+".budget.interval", d.Interval)
		}
	}
	if r := c.MinRetryRate; r != nil {
		if r.Count != nil {
			budget.MinCount = *r.Count
		}
		if r.Interval != nil {
			budget.MinInterval = p.duration(field+".minRetryRate.interval", r.Interval)
		}
	}
	if budget.Percent < 0 || budget.Percent > 100 {
		p.invalid(field+".budget.percent", fmt.Sprintf("%d is not a share of requests; give 0 to 100", budget.Percent))
	}
	if budget.Interval < time.Second || budget.Interval > time.Hour {
		p.invalid(field+".budget.interval", fmt.Sprintf("%s is not supported; give 1s to 1h", budget.Interval))
	}
	if budget.MinInterval <= 0 || budget.MinInterval > time.Hour {
		p.invalid(field+".minRetryRate.interval", fmt.Sprintf("%s is not supported; give up to 1h", budget.MinInterval))
	}
	return budget
}

// applyTrafficPolicy puts what the policy of a Service wants into the settings of a Backend
// that gets requests.
func (b *build) applyTrafficPolicy(service types.NamespacedName, use string, settings *router.BackendSettings) {
	policies := b.trafficTargets[service]
	if len(policies) == 0 || use != useHTTP && use != useGRPC {
		return
	}
	settings.RetryBudget, settings.Session = policies[0].budget, policies[0].session
}

// bindTrafficPolicies finds the Gateways that the policies have to do with.
func (b *build) bindTrafficPolicies(routes []*boundRoute) {
	for _, r := range routes {
		if r.isStream() {
			continue
		}
		for i := range r.memo.parsed.refs {
			ref := &r.memo.parsed.refs[i]
			if ref.group != groupCore || ref.kind != kindService || b.services[ref.name] == nil {
				continue
			}
			policies := b.trafficTargets[ref.name]
			for j, p := range policies {
				accepted := p.accepted
				if j > 0 {
					accepted = falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonConflicted,
						fmt.Sprintf("spec.targetRefs: %s, which is older, is for Service %s already", policies[0].ref, ref.name))
				}
				for _, l := range r.listeners {
					bindPolicy(p.ancestors, l.gateway.ref, accepted)
				}
			}
		}
	}
}

// trafficPolicyStatuses makes the status of every policy that has to do with a Gateway of
// ours, or had.
func (b *build) trafficPolicyStatuses() {
	for _, p := range b.trafficPolicies {
		for _, g := range slices.SortedFunc(maps.Keys(p.ancestors), ObjectRef.compare) {
			b.reportPolicy(p.ref, p.ancestors[g])
		}
		b.policyStatus(policyStatusOf{
			ref: p.ref, object: p.XBackendTrafficPolicy, current: p.Status.Ancestors, ancestors: p.ancestors,
		})
	}
}

// reportPolicy reports a condition of a policy that does not hold, once for all Gateways.
func (b *build) reportPolicy(ref ObjectRef, c condition) {
	if c.status == conditionTrue {
		return
	}
	field, message, ok := strings.Cut(c.message, ": ")
	if !ok {
		field, message = "", c.message
	}
	problem := Problem{ref, field, c.reason, message}
	if !slices.Contains(b.plan.Problems, problem) {
		b.report(problem)
	}
}
