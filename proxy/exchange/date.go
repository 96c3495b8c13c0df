package exchange

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Dates renders the Date field (RFC 9110 §6.6.1) once a second. The zero Dates is
// ready; it is safe for concurrent use.
type Dates struct {
	current atomic.Pointer[renderedDate]
}

type renderedDate struct {
	second int64
	text   string
}

// At returns the value of Date for t.
func (d *Dates) At(t time.Time) string {
	second := t.Unix()
	if r := d.current.Load(); r != nil && r.second == second {
		return r.text
	}
	r := &renderedDate{second: second, text: t.UTC().Format(http.TimeFormat)}
	d.current.Store(r)
	return r.text
}
