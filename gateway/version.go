package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/consts"
)

// supportedVersion is the condition of a GatewayClass that says whether the CRDs of the
// Gateway API are of releases that we know. With others we do what we can. While nobody
// knows the CRDs, the condition stays as it is.
func (b *build) supportedVersion(c *gatewayv1.GatewayClass) (condition, bool) {
	const kind = gatewayv1.GatewayClassConditionStatusSupportedVersion
	if len(b.CRDs) == 0 {
		i := slices.IndexFunc(c.Status.Conditions, func(was metav1.Condition) bool { return was.Type == string(kind) })
		if i < 0 {
			return condition{}, false
		}
		was := &c.Status.Conditions[i]
		return condition{was.Type, was.Status, was.Reason, was.Message}, true
	}
	var unknown []string
	versions := make(map[string]bool)
	for _, crd := range slices.SortedFunc(slices.Values(b.CRDs), func(x, y CRD) int { return cmp.Compare(x.Name, y.Name) }) {
		versions[cmp.Or(crd.Version, "without one")] = true
		if !knownVersion(crd.Version) {
			unknown = append(unknown, fmt.Sprintf("%s %s", crd.Name, cmp.Or(crd.Version, "has none")))
		}
	}
	supported := "releases up to " + consts.BundleVersion + " are supported"
	if len(unknown) == 0 {
		return truth(kind, gatewayv1.GatewayClassReasonSupportedVersion,
			fmt.Sprintf("the CRDs are of %s; %s", strings.Join(sortedKeys(versions), ", "), supported)), true
	}
	return falsity(kind, gatewayv1.GatewayClassReasonUnsupportedVersion,
		fmt.Sprintf("CRDs by the annotation %s: %s; %s, others as far as they are alike", consts.BundleVersionAnnotation, strings.Join(unknown, ", "), supported)), true
}

// knownVersion reports whether a release is one of those up to ours of the same major
// version, whose objects we read.
func knownVersion(version string) bool {
	major, minor, ok := release(version)
	ours, latest, _ := release(consts.BundleVersion)
	return ok && major == ours && minor <= latest
}

// release takes "v1.7.0", or "v1.7.0-rc.1", apart.
func release(version string) (major, minor int, ok bool) {
	number, found := strings.CutPrefix(version, "v")
	parts := strings.SplitN(number, ".", 3)
	if !found || len(parts) != 3 {
		return 0, 0, false
	}
	major, majorErr := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(parts[1])
	return major, minor, majorErr == nil && minorErr == nil && major >= 0 && minor >= 0
}

// experimentalChannel reports whether the API server keeps the fields of the experimental
// channel of a CRD. Others are dropped as they are written.
func (b *build) experimentalChannel(crd string) bool {
	return slices.ContainsFunc(b.CRDs, func(c CRD) bool { return c.Name == crd+"."+groupGateway && c.Channel == "experimental" })
}
