package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var updateScripts = flag.Bool("update", false, "write what the commands print into testdata/script/*.txtar")

// TestMain lets the scripts run this test binary as lintel.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lintel": func() { os.Exit(execute()) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *updateScripts})
}
