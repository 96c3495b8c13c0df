package main

import (
	"context"
	"log/slog"

	"github.com/lintel-dev/lintel/gateway"
)

// problemLog says each mistake in an object once, and once more when it is mended.
type problemLog struct {
	log *slog.Logger
	// unclaimed is the level for objects of classes and parents that are nobody's
	// here: on a cluster they are mostly another controller's.
	unclaimed slog.Level
	// locate returns "file:line" of a field; nil where objects come from no file.
	locate func(object gateway.ObjectRef, field string) string

	known map[gateway.Problem]bool
}

// report logs what is new among the problems of now.
func (p *problemLog) report(problems []gateway.Problem) {
	now := make(map[gateway.Problem]bool, len(problems))
	for _, problem := range problems {
		now[problem] = true
		if !p.known[problem] {
			p.write(p.level(problem), "object has a mistake", problem)
		}
	}
	for problem := range p.known {
		if !now[problem] {
			p.write(min(p.level(problem), slog.LevelInfo), "mistake is mended", problem)
		}
	}
	p.known = now
}

func (p *problemLog) level(problem gateway.Problem) slog.Level {
	if problem.Reason == gateway.ReasonUnclaimed {
		return p.unclaimed
	}
	return slog.LevelWarn
}

func (p *problemLog) write(level slog.Level, what string, problem gateway.Problem) {
	attrs := []any{"object", problem.Object.String(), "field", problem.Field, "reason", problem.Reason, "problem", problem.Message}
	if p.locate != nil {
		attrs = append(attrs, "at", p.locate(problem.Object, problem.Field))
	}
	p.log.Log(context.Background(), level, what, attrs...)
}
