package knot

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// Work is what a server has done since its start.
type Work struct {
	Transfers int // of zones
	Updates   int // messages, whatever came of them
}

// Since returns what was done after an earlier moment.
func (w Work) Since(before Work) Work {
	return Work{w.Transfers - before.Transfers, w.Updates - before.Updates}
}

// Work returns what the server's log says.
func (s *Server) Work() (Work, error) {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return Work{}, fmt.Errorf("read log: %w", err)
	}
	w := Work{Transfers: len(regexp.MustCompile(`AXFR, outgoing, .* started`).FindAll(log, -1))}
	for _, match := range regexp.MustCompile(`DDNS, processing (\d+) update`).FindAllSubmatch(log, -1) {
		n, _ := strconv.Atoi(string(match[1])) // digits
		w.Updates += n
	}
	return w, nil
}
