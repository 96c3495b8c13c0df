package h2

import (
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// section is a decoded head or trailer section, and what its fields say that the
// codec must know.
type section struct {
	fields []Field
	pseudo [pseudoKinds]string
	seen   uint8 // bit k: pseudo-header field of that kind has come
	host   string
	hosts  int
	length int64 // of Content-Length, -1 without
	large  bool  // more than the settings allow has come; what is above is not all
	bytes  int   // decoded, with 32 for each field
	reason string

	cookies []string // values of Cookie
	cookie  int      // index in fields of the first
	joined  string   // the cookies of an earlier request, joined
}

// keepCookies is how many cookies there may be for their room to be kept.
const keepCookies = 64

// pseudoKinds is how many kinds of pseudo-header fields there are.
const pseudoKinds = 6

// reset lets go of all strings.
func (s *section) reset() {
	clear(s.fields[:cap(s.fields)])
	clear(s.cookies[:cap(s.cookies)])
	*s = section{fields: s.fields[:0], cookies: s.cookies[:0]}
}

// read decodes a block. It says false if that is not possible. With wantTable
// nothing but the decoder's table is of use afterwards.
func (s *section) read(d *decoder, block []byte, w want, limits *Settings) bool {
	if cap(s.cookies) > keepCookies {
		s.cookies = nil
	}
	*s = section{fields: s.fields[:0], cookies: s.cookies[:0], joined: s.joined, length: -1}
	d.start(block)
	var e entry
	for {
		switch d.read(&e, w) {
		case gotEnd:
			s.joinCookies()
			d.trim()
			return true
		case gotError:
			return false
		case gotSkipped:
			continue
		}
		if w == wantTable {
			continue
		}
		s.bytes += int(e.size())
		if s.bytes > limits.MaxHeaderBytes || len(s.fields) == limits.MaxFields && e.kind.field() && (e.kind != isCookie || len(s.cookies) == 0) {
			s.large, w = true, wantTable
			continue
		}
		s.note(&e)
	}
}

// field says whether a field of the kind ends up in fields.
func (k kind) field() bool { return k == regular || k >= isLength && k != isHost }

// note keeps a field.
func (s *section) note(e *entry) {
	switch e.kind {
	case regular, isTE:
	case isLength:
		n, ok := h1.Decimal(e.value)
		if !ok || s.length >= 0 {
			s.wrong("Content-Length is malformed or repeated")
		}
		s.length = n
	case isCookie:
		if s.cookies = append(s.cookies, e.value); len(s.cookies) > 1 {
			return
		}
		s.cookie = len(s.fields)
	case isHost:
		if s.hosts++; s.hosts > 1 {
			s.wrong("Host is repeated")
		}
		s.host = e.value
		return
	case malformed:
		s.wrong("field is malformed or not allowed")
		return
	default:
		s.notePseudo(e)
		return
	}
	s.fields = append(s.fields, Field{Name: e.name, Value: e.value})
}

// notePseudo keeps a pseudo-header field (RFC 9113 §8.3).
func (s *section) notePseudo(e *entry) {
	i := e.kind - pseudoMethod
	if s.seen&(1<<i) != 0 || len(s.fields) > 0 || s.hosts > 0 {
		s.wrong("pseudo-header field is repeated or late")
	}
	s.seen |= 1 << i
	s.pseudo[i] = e.value
}

func (s *section) wrong(reason string) {
	if s.reason == "" {
		s.reason = reason
	}
}

// joinCookies makes one field of several (RFC 9113 §8.2.3). Most requests of a
// connection have the same ones, which need no new string.
func (s *section) joinCookies() {
	if len(s.cookies) < 2 {
		return
	}
	if !s.sameCookies() {
		s.joined = strings.Join(s.cookies, "; ")
	}
	s.fields[s.cookie].Value = s.joined
}

// sameCookies says whether the cookies are those that were joined last.
func (s *section) sameCookies() bool {
	rest := s.joined
	for i, value := range s.cookies {
		if i > 0 {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, "; "); !ok {
				return false
			}
		}
		if len(rest) < len(value) || rest[:len(value)] != value {
			return false
		}
		rest = rest[len(value):]
	}
	return rest == ""
}

func (s *section) has(kinds ...kind) bool {
	for _, k := range kinds {
		if s.seen&(1<<(k-pseudoMethod)) == 0 {
			return false
		}
	}
	return true
}

func (s *section) get(k kind) string { return s.pseudo[k-pseudoMethod] }
