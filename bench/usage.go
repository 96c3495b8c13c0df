package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock is the clock of the CPU time that a process has used with all its
// threads, the ended ones too, in ns: what clock_getcpuclockid(3) returns.
func cpuClock(pid int) int32 { return ^int32(pid)<<3 | 2 }

// cpuTime returns the CPU time of some processes, user and system.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(cpuClock(pid), &t); err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// residentKiB returns the resident memory of some processes.
func residentKiB(pids []int) (int, error) {
	sum := 0
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		n, err := parseResident(status)
		if err != nil {
			return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// parseResident reads VmRSS, in KiB, from /proc/PID/status.
func parseResident(status []byte) (int, error) {
	_, rest, ok := bytes.Cut(status, []byte("\nVmRSS:"))
	if !ok {
		return 0, fmt.Errorf("no VmRSS")
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	number, found := bytes.CutSuffix(bytes.TrimSpace(line), []byte(" kB"))
	if !found {
		return 0, fmt.Errorf("VmRSS not in kB: %q", line)
	}
	return strconv.Atoi(string(number))
}
