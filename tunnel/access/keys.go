package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// freshFor is how long keys are taken from memory. Access signs with a key for six
	// weeks, and a key that is to be withdrawn must be gone some day.
	freshFor = time.Hour
	// askEvery is how often keys are asked for at most: anybody can send assertions that
	// name keys which do not exist.
	askEvery = time.Minute
	// askAgain is the same after a question without an answer, for who can't pass without.
	askAgain = 5 * time.Second
	// askTimeout bounds one question.
	askTimeout = 5 * time.Second
	maxKeys    = 1 << 20
)

// keys are those of a team. The last good ones stay through an outage.
type keys struct {
	url    string
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	known  atomic.Pointer[keySet] // nil before the first answer

	asking sync.Mutex // held while asking; guards what follows
	asked  time.Time  // when the last question was sent, zero before
	fault  error      // what became of it
}

// keySet is an answer. It does not change.
type keySet struct {
	byID map[string]*jose.JSONWebKey
	at   time.Time
}

// find returns the key with an id. One that is not known may have come since keys were
// asked for.
func (k *keys) find(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	set := k.known.Load()
	if set == nil || set.byID[id] == nil {
		k.asking.Lock() // whoever asks, asks for all
		err := k.refresh(ctx, askAgain)
		k.asking.Unlock()
		if set = k.known.Load(); set == nil {
			return nil, fmt.Errorf("the keys of Access are not known: %w", err)
		}
	} else if k.now().Sub(set.at) > freshFor && k.asking.TryLock() {
		_ = k.refresh(ctx, askEvery) // it is logged; there are keys
		k.asking.Unlock()
		set = k.known.Load()
	}
	if key := set.byID[id]; key != nil {
		return key, nil
	}
	return nil, errors.New("the assertion of Access is signed with a key that the team does not have")
}

// refresh asks for keys, unless that was done just now: again is how soon it may be after a
// question without an answer. The caller holds k.asking.
func (k *keys) refresh(ctx context.Context, again time.Duration) error {
	now := k.now()
	pause := askEvery
	if k.fault != nil {
		pause = again
	}
	if !k.asked.IsZero() && now.Sub(k.asked) < pause {
		return k.fault
	}
	k.asked = now
	// Others wait for the answer too, so the end of this request does not matter.
	set, err := k.ask(context.WithoutCancel(ctx))
	k.fault = err
	if err != nil {
		k.log.Warn("keys of Cloudflare Access could not be read", "url", k.url, "known", k.known.Load() != nil, "error", err)
		return err
	}
	k.known.Store(&keySet{byID: set, at: now})
	return nil
}

func (k *keys) ask(ctx context.Context) (map[string]*jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s; is the team domain right?", k.url, response.Status)
	}
	var answer struct{ Keys []json.RawMessage }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxKeys)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return parse(answer.Keys)
}

// parse reads keys, and leaves out those of kinds that are not known.
func parse(texts []json.RawMessage) (map[string]*jose.JSONWebKey, error) {
	set := map[string]*jose.JSONWebKey{}
	for _, text := range texts {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(text) == nil && key.Valid() && key.IsPublic() && key.KeyID != "" && key.Use != "enc" {
			set[key.KeyID] = &key
		}
	}
	if len(set) == 0 {
		return nil, errors.New("read keys: there are none")
	}
	return set, nil
}
