// Package cloudflare makes requests to version 4 of Cloudflare's API, within its limits.
//
//	api.go      a request and its answer, and lists of many pages
//	failure.go  answers that are not a success
//	budget.go   when no request is made, for the API asked to be left alone
package cloudflare

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// BaseURL is the address of the API.
	BaseURL = "https://api.cloudflare.com/client/v4"
	// callTimeout is for one request, whose answer may have 5,000 records.
	callTimeout = 30 * time.Second
	maxAnswer   = 32 << 20
	// standardReserve is what is left to others of a token's requests.
	standardReserve = 200
)

// Options of an API. Token must be set.
type Options struct {
	// Token returns an API token. It is called for each request, so that a new one comes
	// into effect at once.
	Token func() (string, error)
	// Needs are the permissions that the token must have, for those who see an error:
	// "Zone Read and DNS Edit for the zone".
	Needs string
	// Reserve is how many of a token's 1,200 requests in five minutes are left to others;
	// zero is 200.
	Reserve int
	URL     string       // empty is BaseURL
	Client  *http.Client // nil is http.DefaultClient
}

// API makes requests with one token. It may be used by many goroutines.
type API struct {
	options Options
	budget  budget
}

// New returns an API.
func New(o Options) *API {
	o.Reserve, o.URL = cmp.Or(o.Reserve, standardReserve), cmp.Or(o.URL, BaseURL)
	o.Client = cmp.Or(o.Client, http.DefaultClient)
	return &API{options: o, budget: budget{reserve: o.Reserve}}
}

// Request is one request. Path stands below the API's address; what is nil is not sent, or
// not read.
type Request struct {
	Method, Path string
	Body, Result any
}

// page is what an answer says of a list that it is a part of.
type page struct {
	Total int `json:"total_count"`
}

// Call sends a request, and reads the result of a success. An answer that is none is an
// [Error]; a [WaitError] says how long no request will be made.
func (a *API) Call(ctx context.Context, r Request) error {
	_, err := a.call(ctx, r)
	return err
}

func (a *API) call(ctx context.Context, r Request) (page, error) {
	if err := a.budget.wait(); err != nil {
		return page{}, err
	}
	token, err := a.options.Token()
	if err != nil {
		return page{}, fmt.Errorf("read the API token of Cloudflare: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var content io.Reader = http.NoBody
	if r.Body != nil {
		encoded, err := json.Marshal(r.Body)
		if err != nil {
			return page{}, fmt.Errorf("write request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, a.options.URL+r.Path, content)
	if err != nil {
		return page{}, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := a.options.Client.Do(request)
	if err != nil {
		return page{}, fmt.Errorf("ask Cloudflare: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return page{}, fmt.Errorf("read answer of Cloudflare: %w", err)
	}
	a.budget.observe(response)
	return a.decode(response, answer, r.Result)
}

func (a *API) decode(response *http.Response, answer []byte, result any) (page, error) {
	var envelope struct {
		Success bool
		Errors  []failure
		Result  json.RawMessage
		Info    page `json:"result_info"`
	}
	parseErr := json.Unmarshal(answer, &envelope) // an answer of a proxy is no JSON
	if response.StatusCode != http.StatusOK || parseErr != nil || !envelope.Success {
		return page{}, a.refusal(response, envelope.Errors)
	}
	if result == nil {
		return envelope.Info, nil
	}
	if err := json.Unmarshal(envelope.Result, result); err != nil {
		return page{}, fmt.Errorf("read answer of Cloudflare: %w", err)
	}
	return envelope.Info, nil
}

// Query is a list that comes in pages.
type Query struct {
	Path  string
	Terms url.Values // what is asked for but pages; nil is all
	Size  int        // of a page
}

// List reads all pages.
func List[T any](ctx context.Context, a *API, q Query) ([]T, error) {
	all := []T{}
	terms := url.Values{"per_page": {strconv.Itoa(q.Size)}}
	for key, values := range q.Terms {
		terms[key] = values
	}
	for number := 1; ; number++ {
		var part []T
		terms.Set("page", strconv.Itoa(number))
		info, err := a.call(ctx, Request{Method: http.MethodGet, Path: q.Path + "?" + terms.Encode(), Result: &part})
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
		if len(part) == 0 || len(all) >= info.Total {
			return all, nil
		}
	}
}
