package manifest

import (
	"context"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// ruleNode is one place in a schema and the CEL rules that stand there. Compiling
// all rules of HTTPRoute takes longer than an edit may take to come into effect,
// and most are about fields that a route does not have, so each place is compiled
// when the first object that has it is checked.
type ruleNode struct {
	// bare is the schema at and below this place without any rules.
	bare     *structuralschema.Structural
	rules    structuralschema.ValidationExtensions
	root     bool
	compiled *cel.Validator // nil until first needed

	properties map[string]*ruleNode
	items      *ruleNode
	additional *ruleNode
}

// newRuleTree returns the places of a schema that have rules at or below them;
// nil when there are none.
func newRuleTree(s *structuralschema.Structural) *ruleNode {
	bare := s.DeepCopy()
	removeRules(bare)
	node := growRuleTree(s, bare)
	if node != nil {
		node.root = true
	}
	return node
}

func growRuleTree(s, bare *structuralschema.Structural) *ruleNode {
	node := &ruleNode{bare: bare, rules: s.ValidationExtensions}
	if s.Items != nil {
		node.items = growRuleTree(s.Items, bare.Items)
	}
	if a := s.AdditionalProperties; a != nil && a.Structural != nil {
		node.additional = growRuleTree(a.Structural, bare.AdditionalProperties.Structural)
	}
	for name, property := range s.Properties {
		bareProperty := bare.Properties[name]
		if child := growRuleTree(&property, &bareProperty); child != nil {
			if node.properties == nil {
				node.properties = make(map[string]*ruleNode)
			}
			node.properties[name] = child
		}
	}
	if len(s.XValidations) == 0 && node.items == nil && node.additional == nil && node.properties == nil {
		return nil
	}
	return node
}

// removeRules clears the rules of s and of everything below it.
func removeRules(s *structuralschema.Structural) {
	s.XValidations = nil
	if s.Items != nil {
		removeRules(s.Items)
	}
	if a := s.AdditionalProperties; a != nil && a.Structural != nil {
		removeRules(a.Structural)
	}
	for name, property := range s.Properties {
		removeRules(&property)
		s.Properties[name] = property
	}
}

// validator compiles the rules of this place.
func (n *ruleNode) validator() *cel.Validator {
	if n.compiled == nil {
		schema := *n.bare
		schema.ValidationExtensions = n.rules
		n.compiled = cel.NewValidator(&schema, n.root, celconfig.PerCallLimit)
	}
	return n.compiled
}

// ruleVisit asks the rules about one object.
type ruleVisit struct {
	budget int64 // what is left of the cost that an API server allows an object
	errs   field.ErrorList
}

// visit asks the rules at n and below about value, which stands at path.
func (v *ruleVisit) visit(n *ruleNode, path *field.Path, value any) {
	if n == nil || value == nil || v.budget < 0 {
		return
	}
	if len(n.rules.XValidations) > 0 {
		var errs field.ErrorList
		errs, v.budget = n.validator().Validate(context.Background(), path, nil, value, nil, v.budget)
		v.errs = append(v.errs, errs...)
	}
	switch value := value.(type) {
	case []any:
		for i := range value {
			v.visit(n.items, path.Index(i), value[i])
		}
	case map[string]any:
		for name, child := range n.properties {
			v.visit(child, path.Child(name), value[name])
		}
		if n.additional != nil {
			for name := range value {
				v.visit(n.additional, path.Key(name), value[name])
			}
		}
	}
}
