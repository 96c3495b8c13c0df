package cloudflare

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

type zoneView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Status      string            `json:"status"`
	Type        string            `json:"type"`
	NameServers []string          `json:"name_servers"`
	Account     map[string]string `json:"account"`
	Plan        map[string]string `json:"plan"`
}

func (s *Server) view(z *zone) zoneView {
	plan := "Free Website"
	if s.options.Plan == Paid {
		plan = "Pro Website"
	}
	return zoneView{
		ID: z.id, Name: z.name, Status: "active", Type: "full", NameServers: nameServers(),
		Account: map[string]string{"id": AccountID, "name": "fake account"}, Plan: map[string]string{"name": plan},
	}
}

// listZones filters by name, with or without a dot at the end.
func (s *Server) listZones(w http.ResponseWriter, r *http.Request, _ *zone) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	grant, query := s.tokens[token], r.URL.Query()
	found := []zoneView{}
	for _, z := range s.zones {
		if name := query.Get("name"); name != "" && canonical(name) != z.name || !grant.sees(z) {
			continue
		}
		if account := query.Get("account.id"); account != "" && account != AccountID {
			continue
		}
		found = append(found, s.view(z))
	}
	answerPage(w, r, found, pages{standard: 20, most: 50})
}

func (s *Server) getZone(w http.ResponseWriter, _ *http.Request, z *zone) { answer(w, s.view(z)) }

func (s *Server) listRecords(w http.ResponseWriter, r *http.Request, z *zone) {
	found := slices.SortedFunc(maps.Values(z.records), compareRecords)
	found = slices.DeleteFunc(found, func(r2 Record) bool { return !matches(r2, r.URL.Query()) })
	answerPage(w, r, found, pages{standard: 100, most: 5000})
}

// matches tells whether a record fits all filters of a query. A filter that the fake
// does not know fits nothing, so that a client does not take its answer for filtered.
func matches(r Record, query url.Values) bool {
	comment := ""
	if r.Comment != nil {
		comment = *r.Comment
	}
	for key, values := range query {
		field, operator, _ := strings.Cut(key, ".")
		var text string
		switch field {
		case "page", "per_page", "order", "direction", "match", "tag_match":
			continue
		case "type":
			text = r.Type
		case "name":
			text = r.Name
		case "content":
			text = r.Content
		case "comment":
			text = comment
		default:
			return false
		}
		if !fits(strings.ToLower(text), operator, strings.ToLower(values[0])) {
			return false
		}
	}
	return true
}

func fits(text, operator, want string) bool {
	switch operator {
	case "", "exact":
		return text == want
	case "contains":
		return strings.Contains(text, want)
	case "startswith":
		return strings.HasPrefix(text, want)
	case "endswith":
		return strings.HasSuffix(text, want)
	case "present":
		return text != ""
	case "absent":
		return text == ""
	}
	return false
}

func (s *Server) getRecord(w http.ResponseWriter, r *http.Request, z *zone) {
	record, there := z.records[r.PathValue("record")]
	if !there {
		refuse(w, missing())
		return
	}
	answer(w, record)
}

func (s *Server) createRecord(w http.ResponseWriter, r *http.Request, z *zone) {
	var record Record
	if decode(w, r, &record) {
		created, failure := z.create(s, record)
		done(w, created, failure)
	}
}

func (s *Server) replaceRecord(w http.ResponseWriter, r *http.Request, z *zone) {
	var record Record
	if decode(w, r, &record) {
		record.ID = r.PathValue("record")
		changed, failure := z.replace(s, record)
		done(w, changed, failure)
	}
}

func (s *Server) patchRecord(w http.ResponseWriter, r *http.Request, z *zone) {
	var p patch
	if decode(w, r, &p) {
		p.ID = r.PathValue("record")
		changed, failure := z.patch(s, p)
		done(w, changed, failure)
	}
}

func (s *Server) deleteRecord(w http.ResponseWriter, r *http.Request, z *zone) {
	removed, failure := z.remove(r.PathValue("record"))
	done(w, map[string]string{"id": removed.ID}, failure)
}

func done(w http.ResponseWriter, result any, failure *Failure) {
	if failure != nil {
		refuse(w, failure)
		return
	}
	answer(w, result)
}

// batchChanges are made in the order of these fields, all or none.
type batchChanges struct {
	Deletes []Record `json:"deletes"`
	Patches []patch  `json:"patches"`
	Puts    []Record `json:"puts"`
	Posts   []Record `json:"posts"`
}

func (s *Server) batch(w http.ResponseWriter, r *http.Request, z *zone) {
	var changes, result batchChanges
	if !decode(w, r, &changes) {
		return
	}
	n, most := len(changes.Deletes)+len(changes.Patches)+len(changes.Puts)+len(changes.Posts), s.options.Plan.bounds().batch
	if n > most { // the API's own number for this is not documented
		refuse(w, invalid(1004, "DNS Validation Error: the batch has more changes than the plan allows."))
		return
	}
	trial := z.clone()
	var patched []Record
	failure := apply(changes.Deletes, &result.Deletes, func(r Record) (Record, *Failure) { return trial.remove(r.ID) })
	if failure == nil {
		failure = apply(changes.Patches, &patched, func(p patch) (Record, *Failure) { return trial.patch(s, p) })
	}
	if failure == nil {
		failure = apply(changes.Puts, &result.Puts, func(r Record) (Record, *Failure) { return trial.replace(s, r) })
	}
	if failure == nil {
		failure = apply(changes.Posts, &result.Posts, func(r Record) (Record, *Failure) { return trial.create(s, r) })
	}
	if failure != nil {
		refuse(w, failure)
		return
	}
	z.records = trial.records
	answer(w, map[string][]Record{"deletes": result.Deletes, "patches": patched, "puts": result.Puts, "posts": result.Posts})
}

func apply[T any](changes []T, results *[]Record, change func(T) (Record, *Failure)) *Failure {
	for _, c := range changes {
		r, failure := change(c)
		if failure != nil {
			return failure
		}
		*results = append(*results, r)
	}
	return nil
}
