package exchange

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// Sessions persist without a memory of ours: a cookie or a header field, which every
// gateway understands, says which endpoint a client has got (GEP-1619). Its value is the
// base64 of an entry for each Backend of the Rule that the client was at, the latest
// first, in big endian: Backend 32 bits, endpoint 64 bits, both as hashes, and the Unix
// seconds when the session began and when it was used last, 32 bits each. A client may
// write what it likes: it reaches endpoints of the Backend that it has got anyway, and
// no others, and how long it keeps one is as much its own business.
const sessionEntry = 4 + 8 + 4 + 4

// maxSessions bounds the entries of one value: as many Backends as a Rule may have.
const maxSessions = 16

// session is what is known of the client's session.
type session struct {
	settings *router.Session // nil without one
	value    string          // what the client has sent, decoded
	token    uint64          // of its endpoint, if found
	found    bool            // it has one at the Backend, which has not run out
	began    int64           // in Unix seconds
	used     int64
}

// continueSession looks for the client's session at the Backend that was chosen.
func (x *Exchange) continueSession(settings *router.Session) {
	x.session = session{settings: settings}
	s := &x.session
	if settings.Header {
		sent, _ := router.Lookup(x.Request.Fields, settings.Name)
		s.read(sent, x)
		return
	}
	for i := range x.Request.Fields {
		if !strings.EqualFold(x.Request.Fields[i].Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(x.Request.Fields[i].Value, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if name == settings.Name && s.read(value, x) {
				return
			}
		}
	}
}

// read looks for an entry in a value, and reports whether there is a good one.
func (s *session) read(sent string, x *Exchange) bool {
	value, err := base64.RawURLEncoding.DecodeString(strings.Trim(sent, `"`))
	if err != nil || len(value)%sessionEntry != 0 || len(value) > maxSessions*sessionEntry {
		return false
	}
	s.value = string(value)
	backend, now := x.Chosen.Backend.Hash(), x.Report.Start.Unix()
	for entry := range slices.Chunk(value, sessionEntry) {
		if binary.BigEndian.Uint32(entry) != backend {
			continue
		}
		s.token = binary.BigEndian.Uint64(entry[4:])
		s.began = int64(binary.BigEndian.Uint32(entry[12:]))
		s.used = int64(binary.BigEndian.Uint32(entry[16:]))
		s.found = !expired(s.settings.Absolute, now-s.began) && !expired(s.settings.Idle, now-s.used)
		return s.found
	}
	return false
}

func expired(limit time.Duration, seconds int64) bool {
	return limit > 0 && time.Duration(seconds)*time.Second >= limit
}

// PickEndpoint returns the endpoint for the next attempt, that of the client's session if
// there is one; nil when there is none that is not in tried.
func (x *Exchange) PickEndpoint(tried []*router.Endpoint) *router.Endpoint {
	if x.session.found {
		if e := x.Chosen.Backend.WithToken(x.session.token, tried...); e != nil {
			return e
		}
	}
	return x.Chosen.Backend.Pick(tried...)
}

// appendSession tells the client of its session, if there is something new to be told.
func (x *Exchange) appendSession(fields []router.Field, now time.Time) []router.Field {
	s := &x.session
	if s.settings == nil || x.endpoint == nil {
		return fields
	}
	token, seconds := x.Chosen.Backend.Token(x.endpoint), now.Unix()
	stays := s.found && s.token == token
	if stays && (s.settings.Idle <= 0 || s.used >= seconds) {
		return fields
	}
	if !stays {
		s.began = seconds
	}
	value := base64.RawURLEncoding.EncodeToString(s.entries(x.Chosen.Backend.Hash(), token, seconds))
	if s.settings.Header {
		fields = slices.DeleteFunc(fields, func(f router.Field) bool { return strings.EqualFold(f.Name, s.settings.Name) })
		return append(fields, router.Field{Name: s.settings.Name, Value: value})
	}
	return append(fields, router.Field{Name: "Set-Cookie", Value: x.sessionCookie(value, seconds)})
}

// entries returns what the client is to send from now on: the entry of this Backend, and
// then those that it has of others.
func (s *session) entries(backend uint32, token uint64, now int64) []byte {
	out := make([]byte, 0, len(s.value)+sessionEntry)
	out = binary.BigEndian.AppendUint32(out, backend)
	out = binary.BigEndian.AppendUint64(out, token)
	out = binary.BigEndian.AppendUint32(out, uint32(s.began))
	out = binary.BigEndian.AppendUint32(out, uint32(now))
	for rest := s.value; len(rest) > 0 && len(out) < maxSessions*sessionEntry; rest = rest[sessionEntry:] {
		if binary.BigEndian.Uint32([]byte(rest[:4])) != backend {
			out = append(out, rest[:sessionEntry]...)
		}
	}
	return out
}

// sessionCookie is the value of Set-Cookie. The attributes are the strictest, as the GEP
// wants them: the cookie is for us, and for no script and no other site.
func (x *Exchange) sessionCookie(value string, now int64) string {
	s := x.session.settings
	path := s.Path
	if path == "" {
		path = "/"
	}
	cookie := s.Name + "=" + value + "; Path=" + path + "; HttpOnly; SameSite=Strict"
	if x.Client.Scheme == "https" {
		cookie += "; Secure"
	}
	if s.Permanent && s.Absolute > 0 {
		left := int64(s.Absolute/time.Second) - (now - x.session.began)
		cookie += "; Max-Age=" + strconv.FormatInt(max(1, left), 10)
	}
	return cookie
}
