package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lintel-dev/lintel/router"
)

// webMessage is a message as gRPC-Web has it, with its flags.
func webMessage(flags byte, payload string) []byte {
	out := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(payload)))
	return append(out, payload...)
}

// decodeText decodes pieces of base64, each padded.
func decodeText(t *testing.T, text string) []byte {
	t.Helper()
	var out []byte
	for ; len(text) >= 4; text = text[4:] {
		piece, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, piece...)
	}
	return out
}

func TestGRPCWeb(t *testing.T) {
	handler := func(_ any, stream grpc.ServerStream) error {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		if string(message) == "fail" {
			return status.Error(codes.NotFound, "no such thing")
		}
		stream.SetTrailer(metadata.Pairs("x-tail", "t"))
		for range 2 {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
		return nil
	}
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", grpcBackend(t, handler))
		g.route("/none", router.NewBackend("default/none:80"))
		g.apply()
		call := func(path, media string, body []byte) (*http.Response, string) {
			req, _ := http.NewRequest(http.MethodPost, g.url(path), bytes.NewReader(body))
			req.Header.Set("Content-Type", media)
			return g.do(req)
		}
		want := string(webMessage(0, "hello")) + string(webMessage(0, "hello")) +
			string(webMessage(trailersFlag, "grpc-status: 0\r\ngrpc-message: \r\nx-tail: t\r\n"))

		res, body := call("/test.Echo/Say", "application/grpc-web+proto", webMessage(0, "hello"))
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/grpc-web+proto" || !sameTrailers(body, want) {
			t.Errorf("%d %s %q", res.StatusCode, res.Header.Get("Content-Type"), body)
		}
		// Padded in two pieces, as a client may encode its messages one by one.
		message := webMessage(0, "hello")
		text := base64.StdEncoding.EncodeToString(message[:4]) + base64.StdEncoding.EncodeToString(message[4:])
		res, body = call("/test.Echo/Say", "application/grpc-web-text", []byte(text))
		if decoded := string(decodeText(t, body)); res.Header.Get("Content-Type") != "application/grpc-web-text" || !sameTrailers(decoded, want) {
			t.Errorf("text: %d %v %q", res.StatusCode, res.Header, decoded)
		}
		res, body = call("/test.Echo/Say", "application/grpc-web", webMessage(0, "fail"))
		if res.Header.Get("Grpc-Status") != "5" && !bytes.Contains([]byte(body), []byte("grpc-status: 5\r\n")) {
			t.Errorf("failure: %v %q", res.Header, body)
		}
		res, body = call("/none/x", "application/grpc-web", webMessage(0, "hello"))
		if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "14" || body != "" {
			t.Errorf("our own answer: %d %v %q", res.StatusCode, res.Header, body)
		}
		if res, _ = call("/test.Echo/Say", "application/grpc-web-text", []byte("@@@@")); res.Header.Get("Grpc-Status") != "13" {
			t.Errorf("not base64: %d %v", res.StatusCode, res.Header)
		}
	})
}

// trailersFlag marks the message that holds the trailers.
const trailersFlag = 0x80

// sameTrailers compares bodies whose last message may hold its lines in another order,
// or without an empty grpc-message.
func sameTrailers(got, want string) bool {
	const messages = 2 * (5 + len("hello"))
	if len(got) < messages+5 || got[:messages] != want[:messages] || got[messages] != trailersFlag {
		return false
	}
	tail := []byte(got[messages+5:])
	return int(binary.BigEndian.Uint32([]byte(got[messages+1:]))) == len(tail) &&
		bytes.Contains(tail, []byte("grpc-status: 0\r\n")) && bytes.Contains(tail, []byte("x-tail: t\r\n"))
}
