package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// settingValue is the place of one setting and how its text is read. An error
// completes the sentence `"x" …`.
type settingValue interface {
	String() string
	Set(text string) error
	Check(text string) error
	Type() string
}

// value is the settingValue of a single T.
type value[T any] struct {
	place *T
	parse func(string) (T, error)
	write func(T) string
}

func (v *value[T]) String() string { return v.write(*v.place) }
func (v *value[T]) Type() string   { return "value" }

func (v *value[T]) Check(text string) error {
	_, err := v.parse(text)
	return err
}

func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err == nil {
		*v.place = parsed
	}
	return err
}

// positive refuses zero.
func positive[T cmp.Ordered](v *value[T]) *value[T] {
	parse := v.parse
	v.parse = func(text string) (T, error) {
		var zero T
		parsed, err := parse(text)
		if err == nil && parsed <= zero {
			return zero, errors.New("must be more than 0")
		}
		return parsed, err
	}
	return v
}

// atLeast refuses what is less than least, but for zero, which means no limit, and the
// negative numbers that stand for words.
func atLeast(least int64, v *value[int64]) *value[int64] {
	parse := v.parse
	v.parse = func(text string) (int64, error) {
		parsed, err := parse(text)
		if err == nil && parsed > 0 && parsed < least {
			return 0, fmt.Errorf("must be %s or more", formatSize(least))
		}
		return parsed, err
	}
	return v
}

// atMost refuses what is more than most.
func atMost(most int, v *value[int]) *value[int] {
	parse := v.parse
	v.parse = func(text string) (int, error) {
		parsed, err := parse(text)
		if err == nil && parsed > most {
			return 0, fmt.Errorf("must be %d or less", most)
		}
		return parsed, err
	}
	return v
}

func text(place *string, preset string) *value[string] {
	*place = preset
	return &value[string]{
		place: place,
		parse: func(s string) (string, error) { return s, nil },
		write: func(s string) string { return s },
	}
}

// controllerName is a domain and a path, as Gateway API asks of
// spec.controllerName.
func controllerName(place *string, preset string) *value[string] {
	v := text(place, preset)
	v.parse = func(s string) (string, error) {
		domain, path, found := strings.Cut(s, "/")
		if !found || path == "" || len(validation.IsDNS1123Subdomain(domain)) > 0 {
			return "", errors.New("must be a domain and a path, such as " + preset)
		}
		return s, nil
	}
	return v
}

// named is the name of an object; it may be empty where the preset is.
func named(place *string, preset string) *value[string] {
	v := text(place, preset)
	v.parse = func(s string) (string, error) {
		if s == "" && preset == "" {
			return s, nil
		}
		return objectName(s)
	}
	return v
}

func choice(place *string, preset string, choices ...string) *value[string] {
	v := text(place, preset)
	v.parse = func(s string) (string, error) {
		if s == "false" && slices.Contains(choices, "off") {
			return "off", nil // which is a boolean to YAML 1.1
		}
		if !slices.Contains(choices, s) {
			if choices[0] == "" {
				return "", errors.New("must be one of " + strings.Join(choices[1:], ", ") + ", or empty")
			}
			return "", errors.New("must be one of " + strings.Join(choices, ", "))
		}
		return s, nil
	}
	return v
}

func hostPort(place *string, preset string) *value[string] {
	v := text(place, preset)
	v.parse = func(s string) (string, error) {
		if s == "" {
			return s, nil
		}
		_, p, err := net.SplitHostPort(s)
		if err == nil {
			_, err = parsePort(p)
		}
		if err != nil {
			return "", errors.New("must be host:port, such as " + preset + " or :9180")
		}
		return s, nil
	}
	return v
}

func onOff(place *bool, preset bool) *value[bool] {
	*place = preset
	return &value[bool]{
		place: place,
		parse: func(s string) (bool, error) {
			switch s {
			case "on", "true":
				return true, nil
			case "off", "false":
				return false, nil
			}
			return false, errors.New("must be on or off")
		},
		write: func(on bool) string {
			if on {
				return "on"
			}
			return "off"
		},
	}
}

func port(place *int, preset int) *value[int] {
	*place = preset
	return &value[int]{place: place, parse: parsePort, write: strconv.Itoa}
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("must be a port, 0 to 65535")
	}
	return int(n), nil
}

func count(place *int, preset int) *value[int] {
	*place = preset
	return &value[int]{
		place: place,
		parse: func(s string) (int, error) {
			n, err := strconv.ParseInt(s, 10, 32)
			if errors.Is(err, strconv.ErrRange) && n > 0 {
				return 0, fmt.Errorf("must be %d or less", n)
			}
			if err != nil || n < 1 {
				return 0, errors.New("must be a whole number, 1 or more")
			}
			return int(n), nil
		},
		write: strconv.Itoa,
	}
}

func timeout(place *time.Duration, preset time.Duration) *value[time.Duration] {
	*place = preset
	return &value[time.Duration]{
		place: place,
		parse: func(s string) (time.Duration, error) {
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, errors.New("must be a time with its unit, such as 500ms, 30s or 1m30s")
			}
			if d < 0 {
				return 0, errors.New("must not be negative")
			}
			return d, nil
		},
		write: func(d time.Duration) string {
			if d%time.Second == 0 && d < 2*time.Minute {
				return strconv.Itoa(int(d/time.Second)) + "s" // 75s, as people write it
			}
			return d.String()
		},
	}
}

// byteUnits are the suffixes of Kubernetes quantities, the largest first.
var byteUnits = [...]struct { //nolint:gochecknoglobals // A constant table.
	suffix string
	bytes  int64
}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}}

// limit is a number of which 0 stands for no limit.
func limit(place *int, preset int) *value[int] {
	v := count(place, preset)
	v.parse = func(s string) (int, error) {
		n, err := strconv.ParseInt(s, 10, 32)
		if errors.Is(err, strconv.ErrRange) && n > 0 {
			return 0, fmt.Errorf("must be %d or less", n)
		}
		if err != nil || n < 0 {
			return 0, errors.New("must be a whole number, 0 or more")
		}
		return int(n), nil
	}
	return v
}

// memory is a size, or the word that stands for containerMemory.
func memory(place *int64) *value[int64] {
	const word = "container"
	v := size(place, containerMemory)
	v.parse = func(s string) (int64, error) {
		if s == word {
			return containerMemory, nil
		}
		n, err := parseSize(s)
		if err != nil {
			err = fmt.Errorf("%w, or %q", err, word)
		}
		return n, err
	}
	v.write = func(n int64) string {
		if n == containerMemory {
			return word
		}
		return formatSize(n)
	}
	return v
}

func size(place *int64, preset int64) *value[int64] {
	*place = preset
	return &value[int64]{place: place, parse: parseSize, write: formatSize}
}

func parseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for _, u := range byteUnits {
		if d, ok := strings.CutSuffix(s, u.suffix); ok {
			digits, unit = d, u.bytes
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, errors.New("must be a number of bytes, such as 65536, 64Ki or 1Mi")
	}
	return n * unit, nil
}

func formatSize(n int64) string {
	for _, u := range byteUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// listValue is a list of T. Repeating the flag adds to it.
type listValue[T any] struct {
	place *[]T
	parse func(string) (T, error)
}

// list reads elements that commas part.
func list[T any](place *[]T, parse func(string) (T, error)) *listValue[T] {
	return &listValue[T]{place: place, parse: parse}
}

func (v *listValue[T]) Type() string { return "list" }

func (v *listValue[T]) String() string {
	var texts []string
	for _, element := range *v.place {
		texts = append(texts, fmt.Sprint(element))
	}
	return strings.Join(texts, ",")
}

func (v *listValue[T]) Check(text string) error {
	_, err := v.elements(text)
	return err
}

func (v *listValue[T]) Set(text string) error {
	elements, err := v.elements(text)
	*v.place = append(*v.place, elements...)
	return err
}

func (v *listValue[T]) elements(text string) ([]T, error) {
	if text == "" {
		return nil, nil
	}
	var elements []T
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		element, err := v.parse(part)
		if err != nil {
			return nil, fmt.Errorf("is no list: %q %w", part, err)
		}
		elements = append(elements, element)
	}
	return elements, nil
}

func objectName(s string) (string, error) {
	if len(validation.IsDNS1123Subdomain(s)) > 0 {
		return "", errors.New("must be the name of an object, such as edge or edge-1.blue")
	}
	return s, nil
}

// objectInNamespace is a namespace and the name of an object in it; empty is none.
func objectInNamespace(place *string) *value[string] {
	v := text(place, "")
	v.parse = func(s string) (string, error) {
		namespace, name, found := strings.Cut(s, "/")
		if s != "" && (!found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0) {
			return "", errors.New("must be a namespace and a name, such as default/lintel")
		}
		return s, nil
	}
	return v
}

func publishAddress(s string) (string, error) {
	if _, err := netip.ParseAddr(s); err != nil && len(validation.IsDNS1123Subdomain(s)) > 0 {
		return "", errors.New("must be an IP address or a hostname")
	}
	return s, nil
}

// network reads a CIDR; a single address stands for itself.
func network(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("must be a network or an address, such as 10.0.0.0/8 or 192.0.2.1")
	}
	return prefix.Masked(), nil
}
