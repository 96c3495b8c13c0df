package cloudflare

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// envelope is around every answer.
type envelope struct {
	Result     any         `json:"result"`
	Success    bool        `json:"success"`
	Errors     []Failure   `json:"errors"`
	Messages   []string    `json:"messages"`
	ResultInfo *resultInfo `json:"result_info,omitempty"`
}

type resultInfo struct {
	Page       int `json:"page"`
	PerPage    int `json:"per_page"`
	Count      int `json:"count"`
	TotalCount int `json:"total_count"`
	TotalPages int `json:"total_pages"`
}

// Failure is an error as the API says it.
type Failure struct {
	status  int
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Chain   []Failure `json:"error_chain,omitempty"`
}

func fail(status, code int, message string) *Failure {
	return &Failure{status: status, Code: code, Message: message}
}

// invalid is a record that the API does not take.
func invalid(code int, message string) *Failure { return fail(http.StatusBadRequest, code, message) }

func noRoute(path string) *Failure {
	f := fail(http.StatusNotFound, 7003, "Could not route to "+path+", perhaps your object identifier is invalid?")
	f.Chain = []Failure{{Code: 7000, Message: "No route for that URI"}}
	return f
}

func answer(w http.ResponseWriter, result any) {
	write(w, http.StatusOK, envelope{Result: result, Success: true})
}

func refuse(w http.ResponseWriter, f *Failure) {
	write(w, f.status, envelope{Errors: []Failure{*f}})
}

func write(w http.ResponseWriter, status int, e envelope) {
	if e.Errors == nil {
		e.Errors = []Failure{}
	}
	e.Messages = []string{}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // who does not listen needs no answer
}

// pages are the bounds of per_page.
type pages struct{ standard, most int }

// answerPage answers with the part of all that page and per_page ask for.
func answerPage[T any](w http.ResponseWriter, r *http.Request, all []T, bounds pages) {
	number := func(key string, standard int) int {
		if n, err := strconv.Atoi(r.URL.Query().Get(key)); err == nil && n > 0 {
			return n
		}
		return standard
	}
	page, size := number("page", 1), min(number("per_page", bounds.standard), bounds.most)
	from := min(len(all), (page-1)*size)
	part := append([]T{}, all[from:min(len(all), from+size)]...) // never null
	write(w, http.StatusOK, envelope{Result: part, Success: true, ResultInfo: &resultInfo{
		Page: page, PerPage: size, Count: len(part), TotalCount: len(all), TotalPages: (len(all) + size - 1) / size,
	}})
}
