package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestTheProberCountsWhatFails(t *testing.T) {
	const enough = 150
	input, end := io.Pipe()
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch served.Add(1) {
		case 50:
			w.WriteHeader(http.StatusServiceUnavailable)
		case enough:
			_ = end.Close()
		}
	}))
	defer server.Close()
	var out bytes.Buffer
	if err := probe(t.Context(), server.URL, input, &out); err != nil {
		t.Fatal(err)
	}
	var p probes
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Sent < enough || p.Failed != 1 || len(p.Failures) != 1 || p.Slowest <= 0 {
		t.Errorf("%v", &p)
	}
	if err := p.failure(); err == nil || !strings.Contains(err.Error(), "status 503") {
		t.Errorf("failure is %v", err)
	}
	if err := (&probes{Sent: 3}).failure(); err == nil {
		t.Error("three probes are enough")
	}
	if err := (results{unasked: true, probes: &probes{Sent: enough, Failed: 1}}).failure(); err == nil {
		t.Error("a probe that failed beside rollouts alone is no failure")
	}
	if err := (&probes{Sent: enough}).failure(); err != nil {
		t.Error(err)
	}
}

func TestRolloutsAreForTheChart(t *testing.T) {
	for _, args := range []string{"-replicas=2", "-rollout"} {
		if _, err := parseOptions([]string{"-lintel=bin/lintel", args}); err == nil {
			t.Errorf("%s is taken for a program", args)
		}
	}
	o, err := parseOptions([]string{"-replicas=2", "-rollout"})
	if err != nil || o.workload() != "deployment/lintel" || o.full() {
		t.Errorf("%+v, %v", o, err)
	}
	if o, _ := parseOptions(nil); o.workload() != "daemonset/lintel" || !o.full() {
		t.Errorf("%+v", o)
	}
}
