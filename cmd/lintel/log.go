package main

import (
	"io"
	"log/slog"

	"k8s.io/klog/v2"
)

// newLog returns the program's log: lines of level and above, in format, to w.
// Level and format are those of Settings.
func newLog(w io.Writer, s Settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevel(s.LogLevel)}
	if s.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func logLevel(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// adoptLibraryLogs makes libraries write to log that know globals alone: client-go one of
// its own, quic-go that of the standard library. It is called once, before they are used.
func adoptLibraryLogs(log *slog.Logger) {
	klog.SetSlogLogger(log.With("component", "client-go"))
	slog.SetDefault(log)
}
