package bpf

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
)

// mount is a line of mountinfo (proc_pid_mountinfo(5)), as far as we read it.
type mount struct {
	root       string // of the mount in its file system: "/", or a part of it; "/.." is above our cgroup namespace
	point      string // where it is in our tree
	filesystem string
}

// readMounts returns what is mounted, in the order in which it was.
func readMounts() ([]mount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseMounts(file)
}

func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		place, kind, found := strings.Cut(lines.Text(), " - ")
		fields, types := strings.Fields(place), strings.Fields(kind)
		if !found || len(fields) < 5 || len(types) < 1 {
			continue
		}
		mounts = append(mounts, mount{root: unescape(fields[3]), point: unescape(fields[4]), filesystem: types[0]})
	}
	return mounts, lines.Err()
}

// unescape undoes \040 and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
