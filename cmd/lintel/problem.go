package main

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/manifest"
)

// problemLog says each mistake once, and once more when it is gone.
type problemLog struct {
	log *slog.Logger
	// manifests is where the objects come from when that is not a cluster; nil
	// otherwise. It adds its own problems, and file and line to the others.
	manifests *manifest.Source

	known map[mistake]bool
}

// mistake is one line of the log.
type mistake struct {
	level                          slog.Level
	at, object, field, reason, why string
}

// report logs what is new among the mistakes of now.
func (p *problemLog) report(problems []gateway.Problem) {
	now := make(map[mistake]bool, len(problems))
	for _, problem := range problems {
		now[p.mistake(problem)] = true
	}
	if p.manifests != nil {
		for _, problem := range p.manifests.Problems() {
			now[mistake{
				level: slog.LevelWarn, at: place(problem.File, problem.Line), object: problem.Object.String(),
				field: problem.Field, reason: "Invalid", why: problem.Message,
			}] = true
		}
	}
	for m := range now {
		if !p.known[m] {
			p.write(m.level, "mistake in an object", m)
		}
	}
	for m := range p.known {
		if !now[m] {
			p.write(min(m.level, slog.LevelInfo), "mistake is gone", m)
		}
	}
	p.known = now
}

func (p *problemLog) mistake(problem gateway.Problem) mistake {
	m := mistake{
		level: slog.LevelWarn, object: problem.Object.String(),
		field: problem.Field, reason: problem.Reason, why: problem.Message,
	}
	if p.manifests != nil {
		m.at = place(p.manifests.Locate(problem.Object, problem.Field))
	} else if problem.Reason == gateway.ReasonUnclaimed {
		m.level = slog.LevelDebug // on a cluster it is mostly another controller's
	}
	return m
}

func (p *problemLog) write(level slog.Level, what string, m mistake) {
	attrs := []any{"object", m.object, "field", m.field, "reason", m.reason, "why", m.why}
	if m.at != "" {
		attrs = append(attrs, "at", m.at)
	}
	p.log.Log(context.Background(), level, what, attrs...)
}

// place returns "file:line", or "" for no file.
func place(file string, line int) string {
	if file == "" || line == 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line)
}
