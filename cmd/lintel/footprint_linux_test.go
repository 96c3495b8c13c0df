package main

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What starting needed goes, and a page that is used again comes back without those around
// it.
func TestUnmapProgramShrinksTheResidentSet(t *testing.T) {
	file := new(programFile)
	parts := file.parts()
	if len(parts) == 0 {
		t.Fatal("no pages of the program found")
	}
	constants := parts[len(parts)-1]
	readAt(t, "/proc/self/mem", int64(constants.start), make([]byte, constants.size))
	before := residentFile(t)
	if told := int(file.resident() >> 10); told < before*9/10 || told > before*11/10 { //nolint:gosec // Megabytes.
		t.Errorf("%d KiB of the program resident, and %d of files", told, before)
	}
	file.unmap()
	if after := residentFile(t); after > before/2 {
		t.Errorf("%d KiB of files resident before, %d KiB after", before, after)
	}
	if file.dense != nil && !errors.Is(file.dense, unix.EBUSY) { // this test has run before
		t.Skip("the kernel, or who started this, has pages come back with their neighbours:", file.dense)
	}
	const places = 9 // other tests' goroutines may read many pages at one of them, such as all types
	var around [places]int
	for i := range around {
		page := (constants.start + constants.size*uintptr(i+1)/(places+1)) &^ (pageSize - 1)
		readAt(t, "/proc/self/mem", int64(page), make([]byte, 1))
		for n := -15; n <= 15; n++ {
			if present(t, page+uintptr(n*pageSize)) {
				around[i]++
			}
		}
	}
	slices.Sort(around[:])
	if around[0] == 0 || around[places/2] > 12 { // the runtime may read some
		t.Errorf("of 31 pages around one that was read so many are there, at %d places: %v", places, around)
	}
}

const pageSize = 4096

// present reports whether a page of this process is in memory.
func present(t *testing.T, page uintptr) bool {
	t.Helper()
	entry := make([]byte, 8)
	readAt(t, "/proc/self/pagemap", int64(page/pageSize*8), entry)
	return binary.NativeEndian.Uint64(entry)>>63 == 1
}

func readAt(t *testing.T, path string, offset int64, to []byte) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	if _, err := file.ReadAt(to, offset); err != nil {
		t.Fatal(err)
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
	for line, want := range map[string]pages{
		"00400000-016d4000 r-xp 00000000 fe:00 111 /bin/lintel":           {0x400000, 0x12d4000},
		"016d4000-02a76000 r--p 012d4000 fe:00 111 /bin/lintel":           {0x16d4000, 0x13a2000},
		"02a76000-02b42000 rw-p 02676000 fe:00 111 /bin/lintel":           {},
		"7ffff7fc1000-7ffff7fc3000 r-xp 00000000 00:00 0 [vdso]":          {},
		"00400000-016d4000 r-xp 00000000 fe:00 111 /bin/lintel (deleted)": {},
		"c000000000-c000400000 rw-p 00000000 00:00 0":                     {},
	} {
		got, ok := programPages(line, "/bin/lintel")
		if ok != (want.size > 0) || got != want {
			t.Errorf("%s: got %#v, %v", line, got, ok)
		}
	}
}
