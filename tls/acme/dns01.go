package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libdns/cloudflare"
	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"github.com/mholt/acmez/v3/acme"
)

const (
	defaultPropagationTimeout = 2 * time.Minute
	// propagationInterval is how often the servers of a zone are asked.
	propagationInterval = 2 * time.Second
	// blindWait is how long to wait for records that cannot be asked for where they are
	// made; then the CA may look.
	blindWait = 30 * time.Second
	// recordTTL is the least that Cloudflare takes.
	recordTTL = time.Minute
	// removeTries, or removeDoubtful if it may not be there, is how many times a record is
	// tried to be removed, one each removeInterval.
	removeTries, removeDoubtful = 4, 2
	removeInterval              = 2 * time.Second
	// providerTimeout is for one request to a DNS provider.
	providerTimeout = 30 * time.Second
)

// solver makes names provable, one attempt long. Its methods are called by one
// goroutine.
type solver interface {
	// present makes the answer to a challenge.
	present(ctx context.Context, challenge acme.Challenge) error
	// wait returns when everybody answers so, as far as can be seen.
	wait(ctx context.Context) error
	// withdraw takes all answers back.
	withdraw(ctx context.Context) error
}

// records are what both DNS providers do.
type records interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// txtRecord is one that was made.
type txtRecord struct {
	zone        zone
	name, value string // name is absolute, without a dot at its end
	// doubtful records are those whose making failed, perhaps only in the answer.
	doubtful bool
}

func (t txtRecord) libdns() []libdns.Record {
	return []libdns.Record{libdns.TXT{Name: libdns.RelativeName(t.name+".", t.zone.name), Text: t.value, TTL: recordTTL}}
}

// dnsSolver proves names by TXT records.
type dnsSolver struct {
	settings DNS01
	records  records
	lookup   lookup
	provider string // for messages
	tell     func(message string)

	made []txtRecord
}

func newDNSSolver(settings DNS01, tell func(string)) (*dnsSolver, error) {
	s := &dnsSolver{settings: settings, lookup: newLookup(settings.Resolvers), tell: tell}
	if s.settings.PropagationTimeout <= 0 {
		s.settings.PropagationTimeout = defaultPropagationTimeout
	}
	secret, err := settings.Provider.secret()
	if err != nil {
		return nil, fmt.Errorf("read secret of the DNS provider: %w", err)
	}
	secret = strings.TrimSpace(secret)
	switch p := settings.Provider.(type) {
	case Cloudflare:
		client := p.HTTPClient
		if client == nil {
			client = &http.Client{Timeout: providerTimeout}
		}
		s.provider, s.records = "Cloudflare", &cloudflare.Provider{APIToken: secret, HTTPClient: client}
	case RFC2136:
		algorithm := p.KeyAlgorithm
		if algorithm == "" {
			algorithm = "hmac-sha256"
		}
		server := withPort(p.Server, "53")
		s.provider, s.records = "DNS server "+server, &rfc2136.Provider{Server: server, KeyName: p.KeyName, KeyAlg: algorithm, Key: secret}
	}
	return s, nil
}

func (s *dnsSolver) present(ctx context.Context, challenge acme.Challenge) error {
	name, err := s.lookup.follow(ctx, challenge.DNS01TXTRecordName())
	if err != nil {
		return err
	}
	z, err := s.lookup.zoneOf(ctx, name)
	if err != nil {
		return err
	}
	record := txtRecord{zone: z, name: strings.TrimSuffix(name, "."), value: challenge.DNS01KeyAuthorization()}
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	_, err = s.records.AppendRecords(ctx, z.name, record.libdns())
	record.doubtful = err != nil && !alreadyThere(err)
	s.made = append(s.made, record)
	if record.doubtful {
		return fmt.Errorf("add TXT record %s to zone %s: %s: %w", record.name, z.name, s.provider, err)
	}
	return nil
}

// alreadyThere tells that Cloudflare has such a record, from an attempt that was cut off.
func alreadyThere(err error) bool {
	text := err.Error()
	return strings.Contains(text, "81058") || strings.Contains(text, "identical record already exists")
}

func (s *dnsSolver) wait(ctx context.Context) error {
	if len(s.made) == 0 {
		return nil
	}
	s.tell("the record was made; asking DNS servers for it")
	timeout := s.settings.PropagationTimeout
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(propagationInterval)
	defer ticker.Stop()
	said, blindly := "", time.Now().Add(blindWait)
	for {
		missing, blind := s.missing(limited)
		if limited.Err() == nil || said == "" { // else the questions were cut off
			said = strings.Join(missing, "; ")
		}
		if len(missing) == 0 || blind && time.Now().After(blindly) {
			return ctx.Err()
		}
		s.tell("the record was made; waiting until it is seen: " + said)
		select {
		case <-ticker.C:
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s made the record, but after %v it is not seen: %s", s.provider, timeout, said)
		}
	}
}

// missing says which records are not seen, and where. blind tells that of those none
// could be asked for where it is made, as behind a firewall that lets only some
// resolvers out. A resolver may go on saying for long that there is no such record,
// since it was asked whether the name is an alias.
func (s *dnsSolver) missing(ctx context.Context) (said []string, blind bool) {
	said, blinds := make([]string, len(s.made)), make([]bool, len(s.made))
	var checks sync.WaitGroup
	for i, record := range s.made {
		checks.Go(func() {
			var err error
			if blinds[i], err = s.seen(ctx, record); err != nil {
				said[i] = fmt.Sprintf("TXT %s: %v", record.name, err)
			}
		})
	}
	checks.Wait()
	blind = true
	for i := range said {
		blind = blind && (blinds[i] || said[i] == "")
	}
	return slices.DeleteFunc(said, func(s string) bool { return s == "" }), blind
}

// seen asks every server of the zone. Where none answers, blind, the resolvers are asked.
func (s *dnsSolver) seen(ctx context.Context, record txtRecord) (blind bool, err error) {
	answered, err := everyServer(ctx, record.zone.servers, record)
	if answered > 0 || !record.zone.public {
		return false, err
	}
	if _, resolved := everyServer(ctx, s.lookup.resolvers, record); resolved == nil {
		return true, nil
	}
	return true, err
}

// everyServer returns how many servers answered, and an error unless all of those
// have the record, or if none answered.
func everyServer(ctx context.Context, servers []string, record txtRecord) (answered int, err error) {
	has, failed := make([]bool, len(servers)), make([]error, len(servers))
	var questions sync.WaitGroup
	for i, server := range servers {
		questions.Go(func() {
			has[i], failed[i] = hasTXT(ctx, server, record.name, record.value)
		})
	}
	questions.Wait()
	var lacking []string
	for i, server := range servers {
		if failed[i] != nil {
			continue
		}
		answered++
		if !has[i] {
			lacking = append(lacking, server)
		}
	}
	switch {
	case answered == 0:
		return 0, fmt.Errorf("no server answers: %w", errors.Join(failed...))
	case len(lacking) > 0:
		return answered, fmt.Errorf("not at %s", strings.Join(lacking, ", "))
	default:
		return answered, nil
	}
}

func (s *dnsSolver) withdraw(ctx context.Context) error {
	var failed []error
	for _, record := range s.made {
		if err := s.remove(ctx, record); err != nil && !record.doubtful {
			failed = append(failed, fmt.Errorf("remove TXT record %s: %s: %w", record.name, s.provider, err))
		}
	}
	s.made = nil
	return errors.Join(failed...)
}

// remove tries more than once: nobody will come back for a record that is left.
func (s *dnsSolver) remove(ctx context.Context, record txtRecord) error {
	tries := removeTries
	if record.doubtful {
		tries = removeDoubtful
	}
	for {
		removed, err := s.records.DeleteRecords(ctx, record.zone.name, record.libdns())
		if err == nil && len(removed) == 0 {
			err = errors.New("it was not found") // which is also what a failed search looks like
		}
		tries--
		if err == nil || tries == 0 || sleep(ctx, removeInterval) != nil {
			return err
		}
	}
}

// answerSolver proves names by what replicas answer on ports 80 and 443.
type answerSolver struct {
	storage   Storage
	presented []Challenge
}

func (s *answerSolver) present(ctx context.Context, challenge acme.Challenge) error {
	c := Challenge{
		Type: challenge.Type, Identifier: challenge.Identifier.Value,
		Token: challenge.Token, KeyAuthorization: challenge.KeyAuthorization,
	}
	s.presented = append(s.presented, c) // also what failed half-way is withdrawn
	if err := s.storage.Present(ctx, c); err != nil {
		return fmt.Errorf("present %s challenge for %s: %w", c.Type, c.Identifier, err)
	}
	return nil
}

func (s *answerSolver) wait(context.Context) error { return nil }

func (s *answerSolver) withdraw(ctx context.Context) error {
	var failed []error
	for _, c := range s.presented {
		if err := s.storage.Withdraw(ctx, c); err != nil {
			failed = append(failed, fmt.Errorf("withdraw %s challenge for %s: %w", c.Type, c.Identifier, err))
		}
	}
	s.presented = nil
	return errors.Join(failed...)
}
