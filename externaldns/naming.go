package externaldns

import "strings"

// typeTemplate stands, in a prefix or suffix, for the type of the marked record.
const typeTemplate = "%{record_type}"

// markedTypes are the types that a mark's name can tell. The first eleven are those of
// ExternalDNS; it takes the marks of the others for those of records that it does not
// know.
func markedTypes() []string {
	return []string{"A", "AAAA", "CNAME", "NS", "MX", "PTR", "SRV", "NAPTR", "TXT", "DNAME", "TLSA", "HTTPS", "SVCB", "CAA"}
}

// naming says which name the mark of a record has. All its parts are in lower case.
//
// The name is the record's own with the type before its first label, "a-www.example.com",
// and the prefix before or the suffix behind that label; a prefix may end in a dot, and
// make the mark stand below the record. Where the prefix or suffix says the type, by
// typeTemplate, it is not said twice. Before v0.12, ExternalDNS did not write the type
// at all: such marks are understood, and no longer made.
type naming struct{ prefix, suffix, wildcard string }

func (n naming) templated() bool {
	return strings.Contains(n.prefix, typeTemplate) || strings.Contains(n.suffix, typeTemplate)
}

// mark returns the name of the mark of a record.
func (n naming) mark(k Key) string {
	kind := strings.ToLower(k.Type)
	first, rest, more := strings.Cut(k.Name, ".")
	if first == "*" && n.wildcard != "" {
		first = n.wildcard
	}
	if !n.templated() {
		first = kind + "-" + first
	}
	name := strings.ReplaceAll(n.prefix, typeTemplate, kind) + first + strings.ReplaceAll(n.suffix, typeTemplate, kind)
	if more {
		name += "." + rest
	}
	return name
}

// marked returns what a mark's name says it marks. The type is empty for a mark of the
// old format; ok is false for a name that is no mark's. The first label of a wildcard
// comes back as its replacement.
func (n naming) marked(name string) (k Key, ok bool) {
	name = strings.ToLower(name)
	if n.suffix == "" {
		return n.split(name)
	}
	// A suffix may have dots: it ends in the label after as many.
	dots := strings.Count(n.suffix, ".")
	labels := strings.SplitN(name, ".", dots+2)
	if len(labels) <= dots {
		return Key{}, false
	}
	k, ok = n.split(strings.Join(labels[:dots+1], "."))
	if ok && len(labels) > dots+1 {
		k.Name += "." + labels[dots+1]
	}
	return k, ok
}

// split takes prefix, suffix and type off a name, or off its labels that the suffix
// ends.
func (n naming) split(name string) (Key, bool) {
	if n.templated() {
		for _, kind := range markedTypes() {
			if bare, ok := n.cut(name, strings.ToLower(kind)); ok {
				return Key{bare, kind}, true
			}
		}
	}
	bare, ok := n.cut(name, "")
	if !ok {
		return Key{}, false
	}
	before, after, typed := strings.Cut(bare, "-")
	for _, kind := range markedTypes() {
		if typed && before == strings.ToLower(kind) {
			return Key{after, kind}, true
		}
	}
	return Key{bare, ""}, true
}

func (n naming) cut(name, kind string) (string, bool) {
	name, hasPrefix := strings.CutPrefix(name, strings.ReplaceAll(n.prefix, typeTemplate, kind))
	name, hasSuffix := strings.CutSuffix(name, strings.ReplaceAll(n.suffix, typeTemplate, kind))
	return name, hasPrefix && hasSuffix
}

// unwild is a record's name as a mark's name can say it.
func (n naming) unwild(name string) string {
	if rest, wild := strings.CutPrefix(name, "*."); wild && n.wildcard != "" {
		return n.wildcard + "." + rest
	}
	return name
}
