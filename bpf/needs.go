package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// ErrUnavailable is what every error wraps that says that a feature can't work here: the
// kernel, our capabilities, or the machine's mounts don't allow it. It is nobody's
// mistake, unless the feature was asked for.
var ErrUnavailable = errors.New("unavailable")

// Unavailable returns an error that wraps ErrUnavailable and says why.
func Unavailable(format string, args ...any) error {
	return unavailable{fmt.Errorf(format, args...)}
}

type unavailable struct{ because error }

func (u unavailable) Error() string        { return "unavailable because " + u.because.Error() }
func (u unavailable) Unwrap() error        { return u.because }
func (u unavailable) Is(target error) bool { return target == ErrUnavailable }

// Needs are what a feature can't do without. A value may be read by several goroutines.
type Needs struct {
	// Capabilities are needed to attach; CAP_BPF and CAP_NET_ADMIN are always.
	Capabilities []Capability
	Programs     []Program
	Maps         []ebpf.MapType
	// Helpers are the kernel's functions that came later than the type of their program.
	Helpers []Helper
}

// Program is a type of programs, and the kernel that it came with, for people to read.
type Program struct {
	Type  ebpf.ProgramType
	Since string // "5.9"
}

// Helper is a function of the kernel's that programs of one type call.
type Helper struct {
	Program  ebpf.ProgramType
	Function asm.BuiltinFunc
	Since    string // "5.8"
}

// Probe asks the kernel whether it has what is needed, and lets us use it. The error, if
// any, wraps ErrUnavailable, and names what is missing and where it would come from.
func (n Needs) Probe() error {
	if err := haveCapabilities(append([]Capability{CapBPF, CapNetAdmin}, n.Capabilities...)); err != nil {
		return err
	}
	for _, p := range n.Programs {
		if err := features.HaveProgramType(p.Type); err != nil {
			return missing(fmt.Sprintf("programs of type %s", p.Type), p.Since, err)
		}
	}
	for _, m := range n.Maps {
		if err := features.HaveMapType(m); err != nil {
			return missing(fmt.Sprintf("maps of type %s", m), "", err)
		}
	}
	for _, h := range n.Helpers {
		if err := features.HaveProgramHelper(h.Program, h.Function); err != nil {
			return missing(fmt.Sprintf("%s in programs of type %s", helperName(h.Function), h.Program), h.Since, err)
		}
	}
	return nil
}

// missing says that the kernel does not have what, which came with Linux since ("" is not
// known), or does not let us have it.
func missing(what, since string, err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported) && since != "":
		return Unavailable("the kernel has no %s, which came with Linux %s", what, since)
	case errors.Is(err, ebpf.ErrNotSupported):
		return Unavailable("the kernel has no %s", what)
	case errors.Is(err, fs.ErrPermission):
		return Unavailable("the kernel refuses %s: %w", what, err)
	}
	return Unavailable("it can't be told whether the kernel has %s: %w", what, err)
}

// helperName turns FnMapLookupElem into bpf_map_lookup_elem.
func helperName(function asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(function.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
