package exchange

import (
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// CopyOf makes x forward a copy of a request that is being forwarded, to another Backend,
// with the filters of the Rule and of to. x.Request is a copy already. It reports false
// when there cannot be one.
func (x *Exchange) CopyOf(from *Exchange, to *router.WeightedBackend) bool {
	rule := *from.Rule
	rule.Action.Retry, rule.Action.CORS, rule.Action.Session, rule.Action.Mirrors = nil, nil, nil, nil
	x.Rule, x.Chosen = &rule, to
	x.Match = from.Match
	x.Match.Fields = nil
	for _, s := range []*string{&x.Match.Method, &x.Match.Host, &x.Match.Path, &x.Match.Query} {
		*s = strings.Clone(*s)
	}
	x.Report.Start, x.Report.Method = from.Report.Start, x.Request.Method

	chosen := from.Chosen
	from.Chosen = to
	from.gather()
	x.fields = h1.CloneFields(from.fields)
	x.fields = slices.DeleteFunc(x.fields, func(f router.Field) bool { return strings.EqualFold(f.Name, "Expect") })
	from.Chosen = chosen
	from.gather()
	if from.web != NoGRPCWeb {
		from.TranslateGRPCWeb()
	}
	// The copy's payload is what the Backend gets, in one of two encodings.
	return x.TranslateGRPCWeb() == from.web || from.web != GRPCWebText && x.web != GRPCWebText
}
