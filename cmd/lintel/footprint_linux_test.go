package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnmapProgramShrinksTheResidentSet(t *testing.T) {
	before := residentFile(t)
	unmapProgram()
	if after := residentFile(t); after > before/2 {
		t.Errorf("%d KiB of files resident before, %d KiB after", before, after)
	}
}

// residentFile returns the KiB of mapped files in memory.
func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Skip("this kernel does not tell RssFile")
	return 0
}

func TestProgramPages(t *testing.T) {
	for line, want := range map[string][2]uintptr{
		"00400000-016d4000 r-xp 00000000 fe:00 111 /bin/lintel":           {0x400000, 0x12d4000},
		"016d4000-02a76000 r--p 012d4000 fe:00 111 /bin/lintel":           {0x16d4000, 0x13a2000},
		"02a76000-02b42000 rw-p 02676000 fe:00 111 /bin/lintel":           {},
		"7ffff7fc1000-7ffff7fc3000 r-xp 00000000 00:00 0 [vdso]":          {},
		"00400000-016d4000 r-xp 00000000 fe:00 111 /bin/lintel (deleted)": {},
		"c000000000-c000400000 rw-p 00000000 00:00 0":                     {},
	} {
		start, size, ok := programPages(line, "/bin/lintel")
		if ok != (want[1] > 0) || start != want[0] || size != want[1] {
			t.Errorf("%s: got %#x, %#x, %v", line, start, size, ok)
		}
	}
}

// Memory is given back once building has stopped for a while, and not before.
func TestFootprintWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		start, given := time.Now(), []time.Duration(nil)
		f := newFootprint()
		f.giveBack = func() { given = append(given, time.Since(start)) }
		go func() { _ = f.Run(ctx) }()
		for range 10 {
			f.built()
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{14 * time.Second, 74 * time.Second}
		if !slices.Equal(given, want) {
			t.Errorf("memory was given back after %v, want %v", given, want)
		}
	})
}
