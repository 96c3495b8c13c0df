//go:build !linux

package bpf

import (
	"errors"
	"os"
)

var errLinuxOnly = errors.New("eBPF is Linux's")

func effectiveCapabilities() (uint64, error) { return 0, errLinuxOnly }

func mountFilesystem(string, string) error { return errLinuxOnly }

func isFilesystem(string, int64) bool { return false }

// LiftLockedMemory does nothing here.
func LiftLockedMemory() {}

func lock(*os.File) (bool, error) { return false, errLinuxOnly }

const magicBPF, magicCgroup2 = 0, 0
