package cloudflare

import (
	"maps"
	"net/http"
	"strings"
	"time"
)

// zone is a zone with its records.
type zone struct {
	id, name string
	records  map[string]Record // by ID
}

// clone is a copy to try changes on: a batch is a transaction.
func (z *zone) clone() *zone {
	return &zone{id: z.id, name: z.name, records: maps.Clone(z.records)}
}

func missing() *Failure { return fail(http.StatusNotFound, 81044, "Record does not exist.") }

func (z *zone) create(s *Server, r Record) (Record, *Failure) {
	if limit := s.options.RecordLimit; limit > 0 && len(z.records) >= limit {
		return Record{}, invalid(81045, "The record quota has been exceeded.")
	}
	r.ID = s.newID()
	r.CreatedOn = time.Now().UTC()
	return z.set(s, r)
}

// set checks a record and stores it under its ID.
func (z *zone) set(s *Server, r Record) (Record, *Failure) {
	if failure := r.check(z.name, s.options.Plan.bounds()); failure != nil {
		return Record{}, failure
	}
	if failure := z.conflict(r); failure != nil {
		return Record{}, failure
	}
	r.ModifiedOn = time.Now().UTC()
	z.records[r.ID] = r
	return r, nil
}

// conflict says which other record a record cannot stand beside.
func (z *zone) conflict(r Record) *Failure {
	address := func(kind string) bool { return kind == "A" || kind == "AAAA" }
	for id, other := range z.records {
		if id == r.ID || other.Name != r.Name {
			continue
		}
		switch {
		case r.Type == other.Type && strings.Trim(r.Content, `"`) == strings.Trim(other.Content, `"`):
			return invalid(81058, "An identical record already exists.")
		case r.Type == "CNAME" && (address(other.Type) || other.Type == "CNAME"):
			return invalid(81053, "An A, AAAA, or CNAME record with that host already exists.")
		case address(r.Type) && other.Type == "CNAME":
			return invalid(81054, "A CNAME record with that host already exists.")
		case (r.Type == "NS") != (other.Type == "NS"):
			return invalid(81056, "NS records with that host already exist.")
		}
	}
	return nil
}

// patch is a change of a record: fields that are nil stay.
type patch struct {
	ID       string         `json:"id"`
	Name     *string        `json:"name"`
	Type     *string        `json:"type"`
	Content  *string        `json:"content"`
	TTL      *int           `json:"ttl"`
	Proxied  *bool          `json:"proxied"`
	Priority *uint16        `json:"priority"`
	Data     map[string]any `json:"data"`
	Comment  *string        `json:"comment"`
	Tags     []string       `json:"tags"`
}

func (z *zone) patch(s *Server, p patch) (Record, *Failure) {
	r, there := z.records[p.ID]
	if !there {
		return Record{}, missing()
	}
	assign(&r.Name, p.Name)
	assign(&r.Type, p.Type)
	assign(&r.Content, p.Content)
	assign(&r.TTL, p.TTL)
	assign(&r.Proxied, p.Proxied)
	if p.Priority != nil {
		r.Priority = p.Priority
	}
	if p.Data != nil {
		r.Data = p.Data
	}
	if p.Comment != nil {
		r.Comment = p.Comment
	}
	if p.Tags != nil {
		r.Tags = p.Tags
	}
	return z.set(s, r)
}

func assign[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// replace is a change that resets what it does not say.
func (z *zone) replace(s *Server, r Record) (Record, *Failure) {
	old, there := z.records[r.ID]
	if !there {
		return Record{}, missing()
	}
	r.CreatedOn = old.CreatedOn
	return z.set(s, r)
}

func (z *zone) remove(id string) (Record, *Failure) {
	r, there := z.records[id]
	if !there {
		return Record{}, missing()
	}
	delete(z.records, id)
	return r, nil
}
