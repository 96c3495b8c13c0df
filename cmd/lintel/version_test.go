package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"testing"
)

func runVersion(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newVersionCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestVersion(t *testing.T) {
	text, err := runVersion(t)
	if err != nil || !strings.HasPrefix(text, "lintel ") || !strings.Contains(text, "\ngo     "+runtime.Version()) {
		t.Errorf("got %q, %v", text, err)
	}
	text, err = runVersion(t, "-o", "json")
	var v map[string]string
	if err != nil || json.Unmarshal([]byte(text), &v) != nil || v["go"] != runtime.Version() || v["version"] == "" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := runVersion(t, "-o", "xml"); err == nil || !strings.Contains(err.Error(), "must be one of text, json") {
		t.Errorf("got %v", err)
	}
}

func TestLogLevelAndFormat(t *testing.T) {
	for _, tc := range []struct{ level, format, want string }{
		{"info", "json", `"level":"INFO","msg":"seen","n":1`},
		{"debug", "text", `level=DEBUG msg=seen n=1`},
		{"warn", "json", ""},
		{"error", "text", ""},
	} {
		var out bytes.Buffer
		level := slog.LevelInfo
		if tc.level == "debug" {
			level = slog.LevelDebug
		}
		newLog(&out, Settings{LogLevel: tc.level, LogFormat: tc.format}).Log(t.Context(), level, "seen", "n", 1)
		if got := out.String(); !strings.Contains(got, tc.want) || (tc.want == "") != (got == "") {
			t.Errorf("%s %s: got %q", tc.level, tc.format, got)
		}
	}
}
