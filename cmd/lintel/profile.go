//go:build profile

package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// profiled runs f, and writes where the time went to a file in the folder that CPU_PROFILE
// names. Only `make profile` builds the program so: bench.pgo is made of that.
func profiled(f func() int) int {
	out, err := os.CreateTemp(os.Getenv("CPU_PROFILE"), "*.pprof")
	if err == nil {
		err = pprof.StartCPUProfile(out)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "lintel: start profile: %v\n", err)
		return exitProblem
	}
	defer out.Close()
	defer pprof.StopCPUProfile()
	return f()
}
