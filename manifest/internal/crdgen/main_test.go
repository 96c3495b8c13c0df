package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The contents are compared, not the compressed bytes: those may differ from one
// release of Go to the next.
func TestSchemasAreThoseOfTheModule(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	const dir = "../../schema"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(files) {
		t.Errorf("%s holds %d files, want %d: run go generate ./manifest", dir, len(entries), len(files))
	}
	for name, want := range files {
		got, err := decompress(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not current: run go generate ./manifest", name)
		}
	}
}

func decompress(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
