package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// decodeAll reads a block with d. It says false for a decoding error.
func decodeAll(d *decoder, block []byte) (fields []hpack.HeaderField, ok bool) {
	d.start(block)
	for {
		var e entry
		switch d.read(&e, wantFields) {
		case gotField:
			if e.kind != classify(e.name, e.value) {
				panic(fmt.Sprintf("%q: %q is said to be of kind %d", e.name, e.value, e.kind))
			}
			fields = append(fields, hpack.HeaderField{Name: e.name, Value: e.value})
		case gotEnd:
			return fields, true
		default:
			return fields, false
		}
	}
}

// The examples of RFC 7541 Appendix C.4 and C.6: Huffman coding, the table and its
// eviction.
func TestDecoderReadsTheExamplesOfTheRFC(t *testing.T) {
	var d decoder
	d.reset()
	d.max = 256
	for _, example := range []struct{ block, fields string }{
		{"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
			":status=302 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"},
		{"\x48\x83\x64\x0e\xff\xc1\xc0\xbf", ":status=307 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"},
		{"\x88\xc1\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x84\xa6\x2d\x1b\xff\xc0\x5a\x83\x9b\xd9\xab\x77\xad\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\x7f\x36\x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07",
			":status=200 cache-control=private date=Mon, 21 Oct 2013 20:13:22 GMT location=https://www.example.com content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"},
	} {
		fields, ok := decodeAll(&d, []byte(example.block))
		var got []string
		for _, f := range fields {
			got = append(got, f.Name+"="+f.Value)
		}
		if !ok || strings.Join(got, " ") != example.fields {
			t.Errorf("read %v, %v; want %s", got, ok, example.fields)
		}
	}
	if d.size != 215 || d.count != 3 {
		t.Errorf("the table holds %d bytes in %d entries, want 215 in 3", d.size, d.count)
	}
}

func TestDecoderRefuses(t *testing.T) {
	for name, block := range map[string]string{
		"index 0":                       "\x80",
		"index beyond the table":        "\xbe",
		"name beyond the table":         "\x7e\x01a",
		"no name":                       "\x40",
		"no value":                      "\x40\x01a",
		"a short value":                 "\x40\x01a\x02b",
		"an endless integer":            "\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
		"a large integer":               "\xff\xff\xff\xff\xff\x7f",
		"an integer without end":        "\xff\x80",
		"a table larger than announced": "\x3f\xe2\x1f",
		"a table size behind a field":   "\x82\x20",
		"padding of a byte":             "\x40\x01a\x82\x1f\xff",
		"padding of zeros":              "\x40\x01a\x81\x18",
		"the end of string":             "\x40\x01a\x84\xff\xff\xff\xff",
	} {
		var d decoder
		d.reset()
		if fields, ok := decodeAll(&d, []byte(block)); ok {
			t.Errorf("%s: accepted as %v", name, fields)
		}
	}
}

func TestHuffmanIsThatOfHPACK(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 2000 {
		var s []byte
		for range rng.IntN(40) {
			s = append(s, byte(rng.IntN(1<<(1+i%8))))
		}
		coded := hpack.AppendHuffmanString(nil, string(s))
		if got, ok := appendHuffman(nil, coded); !ok || !bytes.Equal(got, s) {
			t.Fatalf("%q comes back as %q, %v", s, got, ok)
		}
	}
	for symbol := range 256 {
		coded := hpack.AppendHuffmanString(nil, string([]byte{byte(symbol)}))
		if got, ok := appendHuffman(nil, coded); !ok || len(got) != 1 || got[0] != byte(symbol) {
			t.Fatalf("symbol %d comes back as %q, %v", symbol, got, ok)
		}
	}
}

func FuzzHuffman(f *testing.F) {
	f.Add([]byte("\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"))
	f.Fuzz(func(t *testing.T, coded []byte) {
		want, err := hpack.HuffmanDecodeToString(coded)
		got, ok := appendHuffman(nil, coded)
		if ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("%x: %q, %v; hpack reads %q, %v", coded, got, ok, want, err)
		}
	})
}

func TestStaticTableIsThatOfHPACK(t *testing.T) {
	for i := uint64(1); i <= staticLen; i++ {
		name, value := staticEntry(i)
		fields, err := hpack.NewDecoder(0, nil).DecodeFull([]byte{0x80 | byte(i)})
		if err != nil || fields[0].Name != name || fields[0].Value != value {
			t.Errorf("entry %d is %q: %q, want %v", i, name, value, fields)
		}
		if k := staticKind(i); k != classifyName(name) {
			t.Errorf("entry %d is of kind %d", i, k)
		}
		if first := staticName([]byte(name)); first == 0 || first > i {
			t.Errorf("entry %d is found as %d", i, first)
		} else if found, _ := staticEntry(first); found != name {
			t.Errorf("entry %d is found as %q", i, found)
		}
	}
}

// FuzzDecoder compares with hpack. There, a size update may stand behind a size
// update only when the table is empty, and behind fields when it is; and a string
// may be longer than 4 GiB.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"), []byte("\xbe\x40\x01a\x01b"))
	f.Add([]byte("\x20\x3f\xe1\x1f\x82"), []byte("\x40\x02ab\x01b\xbe\xbe"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var d decoder
		d.reset()
		theirs := hpack.NewDecoder(defaultTableSize, nil)
		for _, block := range [][]byte{first, second} {
			got, ok := decodeAll(&d, block)
			want, err := theirs.DecodeFull(block)
			if !ok || err != nil {
				if ok && !strings.Contains(err.Error(), "dynamic table size update") {
					t.Fatalf("%x: accepted, hpack says %v", block, err)
				}
				return // hpack keeps no state that could be compared then
			}
			for i := range want {
				want[i].Sensitive = false
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%x: %v, hpack reads %v", block, got, want)
			}
		}
	})
}

// Blocks of random fields, under table sizes that change, are what hpack reads.
func TestEncoderIsUnderstoodByHPACK(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var e encoder
		limit := []int{0, 64, 300, 4096, 65536}[rng.IntN(5)]
		e.reset(limit)
		d := hpack.NewDecoder(4096, nil)
		for range 60 {
			if rng.IntN(10) == 0 {
				allowed := []uint32{0, 100, 4096, 1 << 20}[rng.IntN(4)]
				e.resize(allowed)
				d.SetAllowedMaxDynamicTableSize(max(allowed, 4096))
			}
			block := e.begin(nil)
			var want []hpack.HeaderField
			for range rng.IntN(12) {
				f := hpack.HeaderField{
					Name:  []string{"date", "x-a", "Content-Type", "Cookie", "X-Very-Long-Name-Of-A-Field", "etag"}[rng.IntN(6)],
					Value: strings.Repeat("v", rng.IntN(1+rng.IntN(100))) + fmt.Sprint(rng.IntN(1+rng.IntN(30))),
				}
				if !e.setName(f.Name) {
					t.Fatal(f.Name)
				}
				block = e.append(block, f.Value)
				f.Name = strings.ToLower(f.Name)
				f.Sensitive = f.Name == "cookie"
				want = append(want, f)
			}
			got, err := d.DecodeFull(block)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("seed %d, limit %d: hpack reads %v, %v; want %v", seed, limit, got, err, want)
			}
			if e.size > e.max || len(e.text) > 2*e.max {
				t.Fatalf("the table has %d bytes, %d in text; %d are allowed", e.size, len(e.text), e.max)
			}
		}
	}
}

func TestEncoderIndexesWhatComesAgain(t *testing.T) {
	var e encoder
	e.reset(4096)
	size := 0
	for i := range 100 {
		block := e.begin(nil)
		for _, f := range []Field{{Name: "Content-Type", Value: "text/html; charset=utf-8"}, {Name: "X-Request-Id", Value: fmt.Sprint("abcdefgh-", i)}} {
			e.setName(f.Name)
			block = e.append(block, f.Value)
		}
		size = len(block)
	}
	if e.count != 1 || size != 1+1+1+len("x-request-id")+1+len("abcdefgh-99") {
		t.Errorf("%d entries, the last block has %d bytes", e.count, size)
	}
}
