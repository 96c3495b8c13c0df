package main

import (
	"bytes"
	"errors"
	"fmt"
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
	pool := gateway.AddressPool{Name: defaultPool}
	if err := list(&pool.CIDRs, network).Set(text); err != nil || len(pool.CIDRs) == 0 {
		return nil, err
	}
	return []gateway.AddressPool{pool}, nil
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
		prefix, err := network(c)
		if err != nil {
			return pool, fmt.Errorf("(%s) has %q, which %w", e.Name, c, err)
		}
		pool.CIDRs = append(pool.CIDRs, prefix)
	}
	for _, name := range append(e.GatewayClasses, e.Namespaces...) {
		if _, err := objectName(name); err != nil {
			return pool, fmt.Errorf("(%s) has %q, which %w", e.Name, name, err)
		}
	}
	return pool, nil
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

