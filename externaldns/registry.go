package externaldns

import (
	"errors"
	"strings"
)

// RegistryOptions says how marks are written. They are the settings that ExternalDNS
// has, and mean the same: --txt-owner-id, --txt-prefix, --txt-suffix,
// --txt-wildcard-replacement, --txt-encrypt-enabled and --txt-encrypt-aes-key.
type RegistryOptions struct {
	Owner  string
	Prefix string // or Suffix; "%{record_type}" in it becomes the type
	Suffix string
	// WildcardReplacement stands for the * of a wildcard in the name of its mark; empty
	// keeps it, which few providers take.
	WildcardReplacement string
	// Encrypt says that marks are written encrypted. With a Key they are read both ways.
	Encrypt bool
	Key     string // 32 bytes, as they are or in base64
}

// Registry says whose a record is, by its mark. It is immutable, and may be used
// concurrently.
type Registry struct {
	owner  string
	naming naming
	sealer *sealer // nil without a key
	seals  bool
}

// NewRegistry returns a Registry, or says what is wrong with the options.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	r := &Registry{owner: o.Owner, seals: o.Encrypt, naming: naming{
		prefix: strings.ToLower(o.Prefix), suffix: strings.ToLower(o.Suffix), wildcard: strings.ToLower(o.WildcardReplacement),
	}}
	switch {
	case o.Owner == "":
		return nil, errors.New("the owner of DNS records must have a name")
	case strings.ContainsAny(o.Owner, `,="`):
		return nil, errors.New(`the owner's name must not have any of , = "`)
	case o.Prefix != "" && o.Suffix != "":
		return nil, errors.New("marks have a prefix or a suffix, not both")
	case o.Encrypt && o.Key == "":
		return nil, errors.New("marks can't be encrypted without a key")
	}
	if o.Key != "" {
		var err error
		if r.sealer, err = newSealer(o.Key); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// encrypted returns a Registry that writes marks encrypted by a key, and reads both them and
// others.
func (r *Registry) encrypted(key string) (*Registry, error) {
	sealer, err := newSealer(key)
	if err != nil {
		return nil, err
	}
	other := *r
	other.sealer, other.seals = sealer, true
	return &other, nil
}

// Current is a record that is there.
type Current struct {
	Record        // Resource is what the mark says
	Owner  string // empty when the record has no mark
	marks  []mark // all that say so: of one or both formats
}

// mark is a mark that is there.
type mark struct {
	set   Record // the TXT records of its name, of which it may be one of several
	text  string // as it stands there
	key   Key    // what it marks; the type may be empty
	claim claim
}

// zoneState is what there is, read by a Registry.
type zoneState struct {
	records []Current
	marks   map[Key][]mark
}

// read tells records and marks apart.
func (r *Registry) read(records []Record) zoneState {
	state := zoneState{marks: map[Key][]mark{}}
	for _, record := range records {
		record = record.Canonical()
		rest := record
		if record.Type == TXT {
			rest.Targets = nil
			for _, text := range record.Targets {
				m, ok := r.readMark(record, text)
				if !ok {
					rest.Targets = append(rest.Targets, text)
					continue
				}
				state.marks[m.key] = append(state.marks[m.key], m)
			}
		}
		if len(rest.Targets) > 0 {
			state.records = append(state.records, Current{Record: rest})
		}
	}
	for i := range state.records {
		r.attribute(&state.records[i], state.marks)
	}
	return state
}

func (r *Registry) readMark(set Record, text string) (mark, bool) {
	plain := text
	if r.sealer != nil {
		if opened, ok := r.sealer.open(text); ok {
			plain = opened
		}
	}
	c, ok := parseClaim(plain)
	if !ok {
		return mark{}, false
	}
	key, _ := r.naming.marked(set.Name) // one that is named otherwise marks nothing
	return mark{set: set, text: text, key: key, claim: c}, true
}

// attribute notes whose a record is: a mark with its type goes before one without,
// which speaks for A and CNAME records alone. When several owners claim it, it is another's.
func (r *Registry) attribute(c *Current, marks map[Key][]mark) {
	name := r.naming.unwild(c.Name)
	c.marks = marks[Key{name, c.Type}]
	if len(c.marks) == 0 && (c.Type == A || c.Type == CNAME) {
		c.marks = marks[Key{name, ""}]
	}
	for _, m := range c.marks {
		if c.Owner == "" || m.claim.owner != r.owner {
			c.Owner, c.Resource = m.claim.owner, m.claim.resource
		}
	}
}

// write returns a text for a mark of ours.
func (r *Registry) write(resource string) string {
	text := claim{r.owner, resource}.text()
	if r.seals {
		return r.sealer.seal(text)
	}
	return text
}
