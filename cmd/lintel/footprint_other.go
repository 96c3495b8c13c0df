//go:build !linux

package main

// programFile is what the process has mapped of its program.
type programFile struct{}

// unmap does nothing here.
func (*programFile) unmap() {}

// resident returns 0: it is not known here.
func (*programFile) resident() uint64 { return 0 }
