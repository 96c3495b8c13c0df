package observe

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Compact returns r as one line for people, without a line feed, in the time zone of r.Time.
// Nothing in it can change a terminal.
func (r *Record) Compact() string {
	var b strings.Builder
	b.WriteString(r.Time.Format("15:04:05.000  "))
	if r.Kind == KindLost {
		fmt.Fprintf(&b, "-- %d records lost: %s", r.Lost, r.Cause)
		return b.String()
	}
	fmt.Fprintf(&b, "%s -> %s  %s  ", r.Source.compact(), r.destination(), strings.ToUpper(string(r.Verdict)))
	switch r.Kind {
	case KindL7:
		r.compactL7(&b)
	case KindStream:
		fmt.Fprintf(&b, "%s %s  %s sent %s received", r.Protocol, compactTime(r.Seconds), compactSize(r.BytesOut), compactSize(r.BytesIn))
		if r.Host != "" {
			b.WriteString("  " + printable(r.Host))
		}
	default:
		r.compactL4(&b)
	}
	if r.Cause != "" {
		b.WriteString("  " + r.Cause)
	}
	if r.Route != "" {
		b.WriteString("  (" + r.Route + ")")
	}
	return b.String()
}

func (r *Record) compactL7(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s://%s%s  %s  %s", printable(dashed(r.Method)), r.Scheme, printable(r.Host), printable(r.Path), r.status(), compactTime(r.Seconds))
	if r.Attempts > 1 {
		fmt.Fprintf(b, "  %d attempts", r.Attempts)
	}
}

func (r *Record) compactL4(b *strings.Builder) {
	fmt.Fprintf(b, "%s  %s sent %s received", strings.TrimSpace(r.Protocol+" "+string(r.Direction)), compactSize(r.BytesOut), compactSize(r.BytesIn))
	switch {
	case r.Before:
		b.WriteString("  began before recording")
	case r.Seconds > 0:
		b.WriteString("  " + compactTime(r.Seconds))
	}
	if r.RTTSeconds > 0 {
		fmt.Fprintf(b, "  rtt %s (min %s)", compactTime(r.RTTSeconds), compactTime(r.MinRTTSeconds))
	}
	if r.Retransmits > 0 {
		fmt.Fprintf(b, "  %d retransmits", r.Retransmits)
	}
}

// status is what the client saw, "-" for nothing.
func (r *Record) status() string {
	if r.Status == 0 {
		return "-"
	}
	return strconv.Itoa(r.Status)
}

// destination is the end that was connected to, or else what it was to be.
func (r *Record) destination() string {
	if !r.Destination.Address.IsValid() && r.Backend != "" {
		return r.Backend
	}
	return r.Destination.compact()
}

// compact writes namespace/pod:port, or namespace/service:port, or address:port.
func (p *Peer) compact() string {
	port := ""
	if p.Port != 0 {
		port = ":" + strconv.Itoa(int(p.Port))
	}
	switch {
	case p.Pod != "":
		return p.Namespace + "/" + p.Pod + port
	case p.Service != "":
		return p.Namespace + "/" + p.Service + port
	case !p.Address.IsValid():
		return "-"
	case p.Port == 0:
		return p.Address.String()
	default:
		return netip.AddrPortFrom(p.Address, p.Port).String()
	}
}

// compactTime writes three digits, as 1.23ms.
func compactTime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	step := time.Duration(1)
	for d/step >= 1000 {
		step *= 10
	}
	return d.Round(step).String()
}

// compactSize writes 12B, 3.4KiB, 5.6MiB.
func compactSize(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + "B"
	}
	size, units := float64(n)/(1<<10), []string{"KiB", "MiB", "GiB", "TiB"}
	for size >= 1<<10 && len(units) > 1 {
		size, units = size/(1<<10), units[1:]
	}
	return strconv.FormatFloat(size, 'f', 1, 64) + units[0]
}

func dashed(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable replaces what a terminal might obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}
