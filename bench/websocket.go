package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// The example of RFC 6455, section 1.3.
const (
	websocketKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	websocketAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// checkWebSocket opens a WebSocket and has n messages echoed.
func checkWebSocket(ctx context.Context, s Site, n int) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		return fmt.Errorf("open WebSocket: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(checkTimeout)); err != nil {
		return fmt.Errorf("open WebSocket: %w", err)
	}
	request := "GET " + s.Path + " HTTP/1.1\r\nHost: " + siteHost + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + websocketKey + "\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return fmt.Errorf("open WebSocket: %w", err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return fmt.Errorf("open WebSocket: %w", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-Websocket-Accept") != websocketAccept {
		return fmt.Errorf("open WebSocket: %s, accept %q", response.Status, response.Header.Get("Sec-Websocket-Accept"))
	}
	for i := range n {
		payload := expectedBody(s.Size)
		copy(payload, strconv.Itoa(i))
		if _, err := conn.Write(clientFrame(payload)); err != nil {
			return fmt.Errorf("send message %d: %w", i, err)
		}
		want := append([]byte{0x82, byte(len(payload))}, payload...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(reader, got); err != nil {
			return fmt.Errorf("receive message %d: %w", i, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("message %d came back as another", i)
		}
	}
	return nil
}

// clientFrame makes a whole binary message of at most 125 bytes, masked as clients
// have to (RFC 6455, section 5.2).
func clientFrame(payload []byte) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	frame := append([]byte{0x82, 0x80 | byte(len(payload))}, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	return frame
}
