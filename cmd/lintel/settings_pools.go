package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lintel-dev/lintel/gateway"
)

// defaultPool is the name of the pool that a plain list of networks makes.
const defaultPool = "default"

// poolsValue is a list of address pools: networks that make one pool, or in YAML, as in
// the configuration file, pools with their limits.
type poolsValue struct{ place *[]gateway.AddressPool }

// poolEntry is an address pool as a person writes it.
type poolEntry struct {
	Name           string   `yaml:"name"`
	CIDRs          []string `yaml:"cidrs"`
	GatewayClasses []string `yaml:"gatewayClasses,omitempty"`
	Namespaces     []string `yaml:"namespaces,omitempty"`
}

func addressPools(place *[]gateway.AddressPool) *poolsValue { return &poolsValue{place} }

func (v *poolsValue) Type() string { return "list" }

func (v *poolsValue) String() string {
	var names []string
	for _, p := range *v.place {
		names = append(names, p.Name)
	}
	return strings.Join(names, ",")
}

func (v *poolsValue) Check(text string) error {
	_, err := parsePools(text)
	return err
}

func (v *poolsValue) Set(text string) error {
	pools, err := parsePools(text)
	if err == nil {
		*v.place = pools
	}
	return err
}

// NodeText returns a list of pools of the configuration file as text for Set.
func (v *poolsValue) NodeText(node *yaml.Node) (string, error) {
	if node.Kind != yaml.SequenceNode || len(node.Content) == 0 || node.Content[0].Kind != yaml.MappingNode {
		return nodeText(node)
	}
	text, err := yaml.Marshal(node)
	if err != nil {
		return "", err
	}
	if _, err := parsePools(string(text)); err != nil {
		return "", err
	}
	return string(text), nil
}

func parsePools(text string) ([]gateway.AddressPool, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "- ") {
		return plainPool(text)
	}
	var entries []poolEntry
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil {
		return nil, errors.New("must be a list of pools, each with name, cidrs, and if need be gatewayClasses and namespaces")
	}
	pools := make([]gateway.AddressPool, len(entries))
	for i := range entries {
		pool, err := entries[i].pool()
		if err != nil {
			return nil, fmt.Errorf("is no list of pools: element %d %w", i+1, err)
		}
		for j := range pools[:i] {
			if err := distinct(&pools[j], &pool); err != nil {
				return nil, err
			}
		}
		pools[i] = pool
	}
	return pools, nil
}

// plainPool makes one pool for everyone from networks with commas between.
func plainPool(text string) ([]gateway.AddressPool, error) {
	var parts [][]netip.Prefix
	if err := list(&parts, addressRange).Set(text); err != nil || len(parts) == 0 {
		return nil, err
	}
	return []gateway.AddressPool{{Name: defaultPool, CIDRs: slices.Concat(parts...)}}, nil
}

func (e *poolEntry) pool() (gateway.AddressPool, error) {
	pool := gateway.AddressPool{Name: e.Name, GatewayClasses: e.GatewayClasses, Namespaces: e.Namespaces}
	if len(validation.IsDNS1123Subdomain(e.Name)) > 0 {
		return pool, fmt.Errorf("has the name %q; it must be like that of an object, such as lan", e.Name)
	}
	if len(e.CIDRs) == 0 {
		return pool, fmt.Errorf("(%s) has no cidrs", e.Name)
	}
	for _, c := range e.CIDRs {
		prefixes, err := addressRange(c)
		if err != nil {
			return pool, fmt.Errorf("(%s) has %q, which %w", e.Name, c, err)
		}
		pool.CIDRs = append(pool.CIDRs, prefixes...)
	}
	for _, name := range append(e.GatewayClasses, e.Namespaces...) {
		if _, err := objectName(name); err != nil {
			return pool, fmt.Errorf("(%s) has %q, which %w", e.Name, name, err)
		}
	}
	return pool, nil
}

// addressRange reads a network, an address, or the first and the last of a range, as the
// networks that it is made of.
func addressRange(text string) ([]netip.Prefix, error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		prefix, err := network(text)
		if err != nil {
			return nil, errors.New("must be a network, a range or an address, such as 10.0.0.0/24, 192.0.2.10-192.0.2.20 or 192.0.2.1")
		}
		return []netip.Prefix{prefix}, nil
	}
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil || err2 != nil || first.BitLen() != last.BitLen() || last.Less(first) {
		return nil, errors.New("must be a range from a lower address to a higher one, such as 192.0.2.10-192.0.2.20")
	}
	var prefixes []netip.Prefix
	for next := first; next.IsValid() && !last.Less(next); {
		widest := netip.PrefixFrom(next, next.BitLen())
		for wider := widest; wider.Bits() > 0; {
			wider = netip.PrefixFrom(next, wider.Bits()-1)
			if wider.Masked().Addr() != next || last.Less(lastOf(wider)) {
				break
			}
			widest = wider
		}
		prefixes = append(prefixes, widest)
		next = lastOf(widest).Next()
	}
	return prefixes, nil
}

// lastOf returns the highest address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	address := p.Addr().AsSlice()
	for i := range address {
		host := max(0, min(8, 8*(i+1)-p.Bits())) // bits of this byte that are not the network's
		address[i] |= byte(1<<host - 1)
	}
	last, _ := netip.AddrFromSlice(address)
	return last
}

// distinct refuses pools that could not be told apart.
func distinct(a, b *gateway.AddressPool) error {
	if a.Name == b.Name {
		return fmt.Errorf("is no list of pools: two are called %s", a.Name)
	}
	for _, x := range a.CIDRs {
		for _, y := range b.CIDRs {
			if x.Overlaps(y) {
				return fmt.Errorf("is no list of pools: %s of %s and %s of %s overlap", x, a.Name, y, b.Name)
			}
		}
	}
	return nil
}
