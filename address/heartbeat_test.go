package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeartbeatsCarryEveryClaim(t *testing.T) {
	for _, count := range []int{0, 1, maxEntries, maxEntries + 1, 3*maxEntries - 1} {
		var want, got []claim
		for i := range count {
			want = append(want, claim{addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), state: state(i % 5), rival: mac{2, 5: byte(i)}})
		}
		if count > 0 {
			want[0].addr = netip.MustParseAddr("2001:db8::1")
		}
		frames := heartbeats(7, strings.Repeat("n", 200), want)
		for i, h := range frames {
			payload := h.encode()
			if len(payload) > 1500 {
				t.Errorf("a frame of %d claims has %d bytes", len(h.claims), len(payload))
			}
			decoded, err := decodeHeartbeat(append(payload, 0, 0, 0)) // Ethernet pads
			if err != nil {
				t.Fatal(err)
			}
			if decoded.group != 7 || decoded.name != strings.Repeat("n", maxName) || int(decoded.part) != i || int(decoded.parts) != len(frames) {
				t.Errorf("frame %d says %+v", i, decoded)
			}
			got = append(got, decoded.claims...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d claims: %v", count, cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)))
		}
	}
}

func FuzzDecodeHeartbeat(f *testing.F) {
	for _, h := range heartbeats(7, "a", []claim{{addr: netip.MustParseAddr("2001:db8::1")}, {addr: netip.MustParseAddr("192.0.2.1"), state: conflicting, rival: mac{2}}}) {
		f.Add(h.encode())
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		h, err := decodeHeartbeat(payload)
		if err != nil {
			return
		}
		again, err := decodeHeartbeat(h.encode())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(h) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzSightings(f *testing.F) {
	host, v4, v6 := mac{2, 5: 9}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	f.Add(arpProbe(host, v4))
	f.Add(neighborProbe(host, v6))
	f.Add(neighborAnnouncement(host, v6))
	f.Fuzz(func(_ *testing.T, frame []byte) {
		sightARP(frame)
		sightNeighbor(frame)
	})
}

// What we send is read by others as we read what they send.
func TestFramesOfOurs(t *testing.T) {
	host, v4, v6 := mac{2, 5: 9}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		frame []byte
		read  func([]byte) (sighting, bool)
		want  sighting
	}{
		{arpProbe(host, v4), sightARP, sighting{v4, host, true}},
		{arpAnnouncements(host, v4)[0], sightARP, sighting{v4, host, false}},
		{arpAnnouncements(host, v4)[1], sightARP, sighting{v4, host, false}},
		{neighborProbe(host, v6), sightNeighbor, sighting{v6, host, true}},
		{neighborAnnouncement(host, v6), sightNeighbor, sighting{v6, host, false}},
	} {
		if got, ok := c.read(c.frame); !ok || got != c.want {
			t.Errorf("read %+v, %v; want %+v", got, ok, c.want)
		}
	}
}
