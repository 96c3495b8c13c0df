package h1

import (
	"net/http"
	"strconv"
)

// The Append functions extend dst by a piece of a message and return it. They
// check nothing: names, values and targets come from a parser of this package,
// or from configuration that [ValidName] and [ValidValue] have passed.

// AppendRequestLine appends the request line of an HTTP/1.1 request.
func AppendRequestLine(dst []byte, method, target string) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatusLine appends the status line of an HTTP/1.1 response. status is in
// 100 to 999; with an empty reason it brings its standard one.
func AppendStatusLine(dst []byte, status int, reason string) []byte {
	if status == 200 && (reason == "" || reason == "OK") {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	if reason == "" {
		reason = http.StatusText(status)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10), ' ')
	dst = append(dst, reason...)
	return append(dst, "\r\n"...)
}

// AppendField appends one field line.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendLength appends a Content-Length field of n >= 0 bytes.
func AppendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendChunked appends a Transfer-Encoding field that says chunked.
func AppendChunked(dst []byte) []byte {
	return append(dst, "Transfer-Encoding: chunked\r\n"...)
}

// AppendCRLF appends what ends a head after its fields, and the data of a chunk.
func AppendCRLF(dst []byte) []byte { return append(dst, "\r\n"...) }

// AppendChunkSize appends the line that opens a chunk of n > 0 bytes. The n bytes
// follow it, and then a CRLF.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendChunk appends data as one chunk, or nothing if data is empty: an empty
// chunk would be the last.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, len(data))
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body: the last chunk, the
// trailers and the empty line.
func AppendLastChunk(dst []byte, trailers []Field) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range trailers {
		dst = AppendField(dst, trailers[i].Name, trailers[i].Value)
	}
	return append(dst, "\r\n"...)
}
