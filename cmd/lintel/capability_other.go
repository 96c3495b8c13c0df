//go:build !linux

package main

// raiseCapabilities does nothing: only Linux has capabilities.
func raiseCapabilities() error { return nil }
