// Package h2spec runs h2spec (https://github.com/summerwind/h2spec), the
// conformance test of HTTP/2 servers, against a server that is running.
//
// `make h2spec` runs it against bin/lintel. The program is built from the Go module
// proxy, out of a module of its own (program/), since it has no go.mod and needs
// nothing that Lintel needs.
package h2spec

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// caseTimeout is how long a case waits for what must come, and those that look
// whether nothing comes always do; h2spec's default of 2 s is short where the
// machine does other things too.
const caseTimeout = 4 * time.Second

// program is h2spec in the newest version that the module proxy has.
func program() binary.Program {
	return binary.Program{
		Name: "h2spec", Module: "../h2spec/program", // seen from conformance/cluster
		Package: "github.com/summerwind/h2spec/cmd/h2spec",
	}
}

// Build returns the path of h2spec, which it builds unless it is cached.
func Build(ctx context.Context, log *slog.Logger) (string, error) {
	builder, err := binary.NewBuilder(ctx, log)
	if err != nil {
		return "", err
	}
	return builder.Build(ctx, program())
}

// Transport is how the server is reached.
type Transport string

const (
	// Cleartext is HTTP/2 with prior knowledge (RFC 9113 section 3.3).
	Cleartext Transport = "cleartext"
	// TLS is HTTP/2 negotiated by ALPN (RFC 9113 section 3.2), whatever certificate.
	TLS Transport = "TLS"
)

// Run runs every case of h2spec's groups generic, http2 and hpack (strict cases,
// which test what a server should do, included), from the program at path, against
// the server at an address. Failed cases are no error.
func Run(ctx context.Context, path, address string, over Transport) (*Report, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	folder, err := os.MkdirTemp("", "lintel-h2spec-")
	if err != nil {
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a folder left in /tmp harms nobody
	file := filepath.Join(folder, "junit.xml")
	args := []string{
		"--host", host, "--port", port, "--strict", "--junit-report", file,
		"--timeout", strconv.Itoa(int(caseTimeout.Seconds())),
	}
	if over == TLS {
		args = append(args, "--tls", "--insecure")
	}
	cmd := exec.CommandContext(ctx, path, append(args, "generic", "http2", "hpack")...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // it exits with 1 when cases failed
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	content, readErr := os.ReadFile(file)
	if readErr != nil { // it ended before the end
		return nil, fmt.Errorf("run h2spec: %w\n%s", errors.Join(ctx.Err(), err), out)
	}
	return parseReport(content)
}

// Report is what h2spec found.
type Report struct {
	Passed  int
	Skipped int // cases that the server's answers left nothing to test in
	Failed  []Failure
}

// Failure is a case that failed.
type Failure struct {
	Section string // as h2spec numbers them, like "http2/6.5.3"
	Case    string // its title
	Reason  string // what was expected, and what came
}

// String is "N passed, N skipped, N failed".
func (r *Report) String() string {
	return fmt.Sprintf("%d passed, %d skipped, %d failed", r.Passed, r.Skipped, len(r.Failed))
}

// parseReport reads a JUnit report.
func parseReport(content []byte) (*Report, error) {
	type testcase struct {
		Section string  `xml:"package,attr"`
		Title   string  `xml:"classname,attr"`
		Skipped *string `xml:"skipped"`
		Failure *string `xml:"failure"`
		Error   *string `xml:"error"`
	}
	var suites struct {
		Cases []testcase `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(content, &suites); err != nil {
		return nil, fmt.Errorf("read report of h2spec: %w", err)
	}
	if len(suites.Cases) == 0 {
		return nil, errors.New("read report of h2spec: it has no cases")
	}
	r := &Report{}
	for _, c := range suites.Cases {
		reason := c.Failure
		if reason == nil {
			reason = c.Error
		}
		switch {
		case reason != nil:
			r.Failed = append(r.Failed, Failure{Section: c.Section, Case: c.Title, Reason: strings.TrimSpace(*reason)})
		case c.Skipped != nil:
			r.Skipped++
		default:
			r.Passed++
		}
	}
	return r, nil
}
