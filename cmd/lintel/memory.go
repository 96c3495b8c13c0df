package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// containerMemory as a limit stands for that of the container.
const containerMemory = -1

// gcShare is how many percent of the memory the garbage collector is told to keep
// to: the rest is for the program's text, the kernel's buffers and a moment's excess.
const gcShare = 90

// limitMemory tells the garbage collector how much memory there is, unless GOMEMLIMIT
// does, and returns what the data plane may count on, in bytes; 0 means no limit.
func limitMemory(setting int64) int64 {
	limit := setting
	if limit == containerMemory {
		limit = containerLimit()
	}
	if os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit / 100 * gcShare)
	}
	return limit / 100 * gcShare
}

// containerLimit reads the limit of our control group, version 2 or 1; 0 when there
// is none.
func containerLimit() int64 {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// Version 2 says "max" for none, and version 1 a number above any memory.
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n < 1<<50 {
			return n
		}
	}
	return 0
}
