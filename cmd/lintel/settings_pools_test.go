package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lintel-dev/lintel/gateway"
)

func TestAddressPools(t *testing.T) {
	networks := func(texts ...string) []netip.Prefix {
		var all []netip.Prefix
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	one := []gateway.AddressPool{{Name: "default", CIDRs: networks("10.0.0.0/24", "192.0.2.7/32")}}
	two := []gateway.AddressPool{
		{Name: "office", CIDRs: networks("10.0.0.0/24"), GatewayClasses: []string{"inner"}, Namespaces: []string{"a", "b"}},
		{Name: "lan", CIDRs: networks("10.1.0.0/24", "2001:db8::/64")},
	}
	for _, test := range []struct {
		name, file string
		args       []string
		want       []gateway.AddressPool
	}{
		{"none", "", nil, nil},
		{"flag", "", []string{"--address-pools=10.0.0.0/24,192.0.2.7"}, one},
		{"a range", "addressPools: [192.0.2.200-192.0.2.220]\n", nil, []gateway.AddressPool{{
			Name: "default", CIDRs: networks("192.0.2.200/29", "192.0.2.208/29", "192.0.2.216/30", "192.0.2.220/32"),
		}}},
		{"ranges of IPv6", "", []string{"--address-pools=2001:db8::1-2001:db8::2,ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, []gateway.AddressPool{{
			Name: "default", CIDRs: networks("2001:db8::1/128", "2001:db8::2/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"),
		}}},
		{"networks in the file", "addressPools: [10.0.0.0/24, 192.0.2.7]\n", nil, one},
		{"pools in the file", "addressPools:\n- name: office\n  cidrs: [10.0.0.0/24]\n  gatewayClasses: [inner]\n  namespaces: [a, b]\n- {name: lan, cidrs: [10.1.0.0/24, \"2001:db8::/64\"]}\n", nil, two},
		{"pools in a flag", "", []string{"--address-pools=[{name: office, cidrs: [10.0.0.0/24], gatewayClasses: [inner], namespaces: [a, b]}, {name: lan, cidrs: [10.1.0.0/24, '2001:db8::/64']}]"}, two},
		{"a flag over the file", "addressPools: [10.9.0.0/24]\n", []string{"--address-pools=10.0.0.0/24,192.0.2.7"}, one},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readSettings(t, test.file, nil, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.AddressPools, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddressPoolMistakes(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"addressPools: [10.0.0.0/33]\n", "lintel.yaml:1: addressPools: \"10.0.0.0/33\" is no list: \"10.0.0.0/33\" must be a network, a range or an address"},
		{"addressPools: [10.0.0.9-10.0.0.1]\n", "must be a range from a lower address to a higher one"},
		{"addressPools:\n- {name: lan}\n", "lintel.yaml:1: addressPools: is no list of pools: element 1 (lan) has no cidrs"},
		{"addressPools:\n- {name: LAN, cidrs: [10.0.0.0/24]}\n", `element 1 has the name "LAN"; it must be like that of an object`},
		{"addressPools:\n- {name: lan, cidrs: [x]}\n", `element 1 (lan) has "x", which must be a network, a range or an address`},
		{"addressPools:\n- {name: lan, cidrs: [10.0.0.0/24], namespace: a}\n", "must be a list of pools, each with name, cidrs"},
		{"addressPools:\n- {name: lan, cidrs: [10.0.0.0/24]}\n- {name: lan, cidrs: [10.1.0.0/24]}\n", "two are called lan"},
		{"addressPools:\n- {name: lan, cidrs: [10.0.0.0/16]}\n- {name: wan, cidrs: [10.0.1.0/24]}\n", "10.0.0.0/16 of lan and 10.0.1.0/24 of wan overlap"},
	} {
		if _, err := readSettings(t, test.file, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.file, err, test.want)
		}
	}
}
