package tunnel

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
)

// buffered is a stream in memory.
type buffered struct{ *bytes.Buffer }

// Close implements io.Closer.
func (buffered) Close() error { return nil }

// Heads are what cloudflared's own package reads and writes.
func TestHeadsAreThoseOfCloudflared(t *testing.T) {
	for _, metadata := range [][]pogs.Metadata{
		{}, {{Key: "HttpMethod", Val: "GET"}, {Key: "HttpHeader:X-Empty", Val: ""}, {Key: "HttpHeader:X-Long", Val: string(make([]byte, 70000))}},
	} {
		var stream bytes.Buffer
		client := rpcquic.RequestClientStream{ReadWriteCloser: buffered{&stream}}
		if err := client.WriteConnectRequestData("http://app.test/", pogs.ConnectionTypeWebsocket, metadata...); err != nil {
			t.Fatal(err)
		}
		signature := quicSignature()
		if got := stream.Next(len(signature)); !bytes.Equal(got, signature[:]) {
			t.Errorf("signature %x", got)
		}
		head, err := readHead(&stream)
		want := &pogs.ConnectRequest{Dest: "http://app.test/", Type: pogs.ConnectionTypeWebsocket, Metadata: metadata}
		if err != nil || !reflect.DeepEqual(head, want) {
			t.Errorf("%+v, %v", head, err)
		}
		for _, fault := range []error{nil, errors.New("nobody there")} {
			if err := writeHead(&stream, fault, metadata); err != nil {
				t.Fatal(err)
			}
			answer, err := client.ReadConnectResponseData()
			if err != nil || len(answer.Metadata) != len(metadata) || len(metadata) > 0 && !reflect.DeepEqual(answer.Metadata, metadata) || (answer.Error != "") != (fault != nil) {
				t.Errorf("%+v, %v", answer, err)
			}
		}
	}
}

func FuzzReadHead(f *testing.F) {
	var stream bytes.Buffer
	client := rpcquic.RequestClientStream{ReadWriteCloser: buffered{&stream}}
	if err := client.WriteConnectRequestData("http://app.test/", pogs.ConnectionTypeHTTP, pogs.Metadata{Key: "HttpMethod", Val: "GET"}); err != nil {
		f.Fatal(err)
	}
	f.Add(stream.Bytes()[6:]) // without the signature
	f.Fuzz(func(_ *testing.T, data []byte) {
		head, err := readHead(bytes.NewReader(data))
		if err != nil {
			return
		}
		_, _ = requestOf(head, io.NopCloser(bytes.NewReader(nil))) // it must not panic
	})
}
