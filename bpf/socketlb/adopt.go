package socketlb

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// newTable reads what the maps hold already, from the process before, and goes on with it.
func newTable(all map[string]*ebpf.Map) (*table, error) {
	t := &table{
		services: all[lbMapLbServices], endpoints: all[lbMapLbEndpoints], places: all[lbMapLbPlaces],
		nextList: 1, current: make(map[address]*entry),
	}
	slots, err := t.readSlots()
	if err != nil {
		return nil, err
	}
	lists := make(map[uint64]*list)
	var key lbServiceKey
	var value lbService
	services := t.services.Iterate()
	for services.Next(&key, &value) {
		l := lists[value.List]
		if l == nil {
			l = &list{number: value.List, length: value.Count}
			lists[value.List] = l
		}
		l.users++
		e := &entry{backing{affinity: value.Affinity}, l}
		for slot := range value.Count {
			e.endpoints = append(e.endpoints, slots[value.List][uint64(slot)])
		}
		t.current[key.address()] = e
		t.nextList = max(t.nextList, value.List+1)
	}
	if err := services.Err(); err != nil {
		return nil, fmt.Errorf("read Services: %w", err)
	}
	return t, t.removeStrays(lists, slots)
}

// removeStrays removes what a process that ended in the middle of an update left.
func (t *table) removeStrays(lists map[uint64]*list, slots map[uint64]map[uint64]netip.AddrPort) error {
	for number, found := range slots {
		for slot := range found {
			if l := lists[number]; l == nil || slot >= uint64(l.length) {
				_ = t.endpoints.Delete(&lbSlotKey{List: number, Slot: slot}) // this fails only if it is not there
			}
		}
	}
	var strays []lbPlaceKey
	var key lbPlaceKey
	var slot uint32
	places := t.places.Iterate()
	for places.Next(&key, &slot) {
		if l := lists[key.List]; l != nil {
			l.places = append(l.places, key.Endpoint.addrPort())
		} else {
			strays = append(strays, key)
		}
	}
	for i := range strays {
		_ = t.places.Delete(&strays[i]) // likewise
	}
	if err := places.Err(); err != nil {
		return fmt.Errorf("read places: %w", err)
	}
	return nil
}

// readSlots returns the lists of endpoints by their numbers.
func (t *table) readSlots() (map[uint64]map[uint64]netip.AddrPort, error) {
	lists := make(map[uint64]map[uint64]netip.AddrPort)
	var key lbSlotKey
	var value lbEndpoint
	all := t.endpoints.Iterate()
	for all.Next(&key, &value) {
		if lists[key.List] == nil {
			lists[key.List] = make(map[uint64]netip.AddrPort)
		}
		lists[key.List][key.Slot] = value.addrPort()
		t.nextList = max(t.nextList, key.List+1)
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("read endpoints: %w", err)
	}
	return lists, nil
}
