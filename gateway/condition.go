package gateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// condition is a metav1.Condition before it knows the generation it speaks of.
type condition struct {
	kind    string
	status  metav1.ConditionStatus
	reason  string
	message string
}

// truth makes a condition that holds.
func truth[T, R ~string](kind T, reason R, message string) condition {
	return condition{string(kind), metav1.ConditionTrue, string(reason), message}
}

// falsity makes a condition that does not hold.
func falsity[T, R ~string](kind T, reason R, message string) condition {
	return condition{string(kind), metav1.ConditionFalse, string(reason), message}
}

// fault makes a condition that does not hold because of p.
func fault[T ~string](kind T, p Problem) condition {
	return falsity(kind, p.Reason, p.text())
}

// text is the Problem's field and message, as conditions show them.
func (p Problem) text() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// at completes a condition for an object of this generation.
func (c condition) at(generation int64) metav1.Condition {
	return metav1.Condition{Type: c.kind, Status: c.status, ObservedGeneration: generation, Reason: c.reason, Message: c.message}
}

// conditionsAt completes a list of conditions.
func conditionsAt(generation int64, conditions ...condition) []metav1.Condition {
	list := make([]metav1.Condition, len(conditions))
	for i, c := range conditions {
		list[i] = c.at(generation)
	}
	return list
}
