package tunnel

import (
	"bufio"
	"bytes"
	"io"
	"reflect"
	"testing"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
	"github.com/lintel-dev/lintel/internal/edgewire"
)

// buffered is a stream in memory.
type buffered struct{ *bytes.Buffer }

// Close implements io.Closer.
func (buffered) Close() error { return nil }

// sent is how cloudflared's own package sends a head, behind its signature.
func sent(t testing.TB, dest string, kind pogs.ConnectionType, metadata ...pogs.Metadata) []byte {
	t.Helper()
	var stream bytes.Buffer
	client := rpcquic.RequestClientStream{ReadWriteCloser: buffered{&stream}}
	if err := client.WriteConnectRequestData(dest, kind, metadata...); err != nil {
		t.Fatal(err)
	}
	if got := string(stream.Next(len(edgewire.DataSignature))); got != edgewire.DataSignature {
		t.Errorf("signature %x", got)
	}
	return stream.Bytes()
}

// Heads are what cloudflared's own package writes, and one reader reads them all.
func TestHeadsAreThoseOfCloudflared(t *testing.T) {
	in := bufio.NewReader(nil)
	head := newQUICHead(in)
	long := string(bytes.Repeat([]byte("x"), 70000))
	for _, metadata := range [][]pogs.Metadata{
		{}, {{Key: "HttpMethod", Val: "GET"}, {Key: "HttpHost", Val: "app.test"}, {Key: "HttpHeader:x-odd:name", Val: ""}, {Key: "HttpHeader:X-Long", Val: long}, {Key: "FlowID", Val: "1"}}, {},
	} {
		in.Reset(io.MultiReader(bytes.NewReader(sent(t, "http://app.test/a", pogs.ConnectionTypeWebsocket, metadata...)), bytes.NewReader([]byte("body"))))
		if err := head.read(); err != nil {
			t.Fatal(err)
		}
		want := edgewire.Request{Target: "/a", WebSocket: true, Fields: []edgewire.Field{}}
		if len(metadata) > 0 {
			want.Method, want.Host, want.Fields = "GET", "app.test", []edgewire.Field{{Name: "x-odd:name"}, {Name: "X-Long", Value: long}}
		}
		got := head.request
		got.Fields = append([]edgewire.Field{}, got.Fields...)
		if !reflect.DeepEqual(got, want) || head.dest != "http://app.test/a" || len(metadata) > 0 && !head.spent {
			t.Errorf("%.200v", got)
		}
		if rest, err := io.ReadAll(in); string(rest) != "body" || err != nil {
			t.Errorf("%q follows, %v", rest, err)
		}
	}
}

func TestPathOfADestination(t *testing.T) {
	for dest, want := range map[string]string{
		"/a?b=http://c/":                 "/a?b=http://c/",
		"http://app.test/a%2Fb?c":        "/a%2Fb?c",
		"https://app.test":               "/",
		"https://app.test?q":             "/?q",
		"http://app.test:80//double/../": "//double/../",
	} {
		if got := pathOf(dest); got != want {
			t.Errorf("%s: %s", dest, got)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add(sent(f, "http://app.test/", pogs.ConnectionTypeHTTP, pogs.Metadata{Key: "HttpMethod", Val: "GET"}))
	good := sent(f, "http://app.test/good", pogs.ConnectionTypeHTTP, pogs.Metadata{Key: "HttpMethod", Val: "PUT"})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(bytes.NewReader(data))
		head := newQUICHead(in)
		if head.read() == nil { // it must not panic
			checkSame(t, data, head)
		}
		in.Reset(bytes.NewReader(good)) // what was read before does not matter
		if err := head.read(); err != nil || head.request.Method != "PUT" || head.request.Target != "/good" || len(head.request.Fields) != 0 {
			t.Errorf("%+v, %v", head.request, err)
		}
	})
}

// checkSame compares a head with what cloudflared's package reads.
func checkSame(t *testing.T, data []byte, head *quicHead) {
	server := rpcquic.RequestServerStream{ReadWriteCloser: buffered{bytes.NewBuffer(data)}}
	want, err := server.ReadConnectRequestData()
	if err != nil {
		return // it reads more of the message
	}
	var fields []edgewire.Field
	for _, m := range want.Metadata {
		if len(m.Key) > len(edgewire.FieldKey) && m.Key[:len(edgewire.FieldKey)] == edgewire.FieldKey {
			fields = append(fields, edgewire.Field{Name: m.Key[len(edgewire.FieldKey):], Value: m.Val})
		}
	}
	if head.dest != want.Dest || head.kind != want.Type || len(fields) > 0 && !reflect.DeepEqual(head.request.Fields, fields) {
		t.Errorf("%+v, want %+v", head, want)
	}
}
