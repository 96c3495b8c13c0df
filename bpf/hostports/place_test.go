package hostports

import (
	"testing"
	"unsafe"
)

// The key is struct lt_place of hostports.c.
func TestKeysAreThoseOfTheProgram(t *testing.T) {
	if size := unsafe.Sizeof(programLtPlace{}); size != 24 {
		t.Errorf("a key has %d bytes", size)
	}
}

func TestPlacesAreNumeric(t *testing.T) {
	for _, address := range []string{"", "80", ":0", "192.0.2.1:0", "example.com:80", ":http", ":65536"} {
		if at, err := placeOf("tcp", address); err == nil {
			t.Errorf("%q is %v", address, at)
		}
	}
	for address, want := range map[string]string{":80": ":80/tcp", "[::]:80": ":80/tcp", "192.0.2.1:80": "192.0.2.1:80/tcp", "[::ffff:192.0.2.1]:80": "192.0.2.1:80/tcp", "[2001:db8::1]:80": "[2001:db8::1]:80/tcp"} {
		if at, err := placeOf("tcp", address); err != nil || at.String() != want {
			t.Errorf("%q is %v, %v; want %s", address, at, err, want)
		}
	}
}
