package main

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var updateScripts = flag.Bool("update", false, "write what the commands print into testdata/script/*.txtar")

// atOnce is how many tests run at once that wait for most of their time, for processes and
// networks, unless -parallel was given.
const atOnce = 4

// TestMain lets the scripts run this test binary as lintel.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil { // the command line comes later
		panic(err)
	}
	// With the race detector each process that a test starts would rest for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=50 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"lintel": func() { os.Exit(execute()) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *updateScripts, Setup: func(script *testscript.Env) error {
		script.Setenv("GORACE", os.Getenv("GORACE"))
		return nil
	}})
}
