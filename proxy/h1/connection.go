package h1

import "strings"

// IsHopByHop says whether a field concerns one connection only, so that a
// forwarder drops it: those that RFC 9110 §7.6.1 names. Trailer is not one of
// them, as it describes fields that are forwarded. Fields that the Connection
// field nominates are hop-by-hop too, see [Request.HopByHop].
func IsHopByHop(name string) bool {
	switch len(name) {
	case 2:
		return fold(name, "te")
	case 7:
		return fold(name, "upgrade")
	case 10:
		return fold(name, "connection") || fold(name, "keep-alive")
	case 16:
		return fold(name, "proxy-connection")
	case 17:
		return fold(name, "transfer-encoding")
	}
	return false
}

// HopByHop says whether a forwarder drops the field called name: whether
// [IsHopByHop] does or the Connection field of r nominates it. Host and
// Content-Length can't be nominated, since no message is the same without them.
func (r *Request) HopByHop(name string) bool {
	return IsHopByHop(name) || r.section.nominates(name)
}

// HopByHop is [Request.HopByHop] for a response.
func (r *Response) HopByHop(name string) bool {
	return IsHopByHop(name) || r.section.nominates(name)
}

// Detach lets the buffer that r was parsed from be used again while the body is read:
// from now on Fields is nil and Reason is not valid, and HopByHop answers as before.
func (r *Response) Detach() {
	r.section.detach()
	r.Fields = nil
}

// detach keeps what nominates reads, in memory of its own, and nothing else.
func (s *section) detach() {
	kept := s.fields[:0]
	for i := range s.fields {
		if s.seen&optOther != 0 && fold(s.fields[i].Name, "connection") {
			kept = append(kept, Field{Name: "Connection", Value: strings.Clone(s.fields[i].Value)})
		}
	}
	s.fields = kept
}

func (s *section) nominates(name string) bool {
	if s.seen&optOther == 0 || fold(name, "host") || fold(name, "content-length") {
		return false
	}
	for i := range s.fields {
		if !fold(s.fields[i].Name, "connection") {
			continue
		}
		for rest := s.fields[i].Value; rest != ""; {
			var option string
			option, rest = nextItem(rest)
			if len(option) == len(name) && strings.EqualFold(option, name) {
				return true
			}
		}
	}
	return false
}

// nextItem splits the first element off a comma-separated list, without the
// white space around it. Elements may be empty (RFC 9110 §5.6.1.2).
func nextItem(list string) (item, rest string) {
	if i := strings.IndexByte(list, ','); i >= 0 {
		list, rest = list[:i], list[i+1:]
	}
	for list != "" && isSpace(list[0]) {
		list = list[1:]
	}
	for list != "" && isSpace(list[len(list)-1]) {
		list = list[:len(list)-1]
	}
	return list, rest
}
