//go:build linux

package proxy

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// joinChunks joins the chunks of each body in what a peer got over a connection:
// where one ends is a matter of timing. methods are those that responses answer; nil
// stands for a connection that brings requests.
func joinChunks(stream string, methods *[]string) string {
	var b strings.Builder
	for stream != "" {
		head, rest, found := strings.Cut(stream, "\r\n\r\n")
		if !found {
			break
		}
		b.WriteString(stream[:len(stream)-len(rest)])
		stream = rest
		if methods != nil {
			status := head[min(9, len(head)):min(12, len(head))]
			if strings.HasPrefix(status, "1") && status != "101" {
				continue
			}
			method := ""
			if len(*methods) > 0 {
				method, *methods = (*methods)[0], (*methods)[1:]
			}
			if method == "HEAD" || status == "204" || status == "304" {
				continue
			}
		}
		size, hasLength := strings.CutPrefix(contentLength.FindString(head), "\r\nContent-Length: ")
		switch {
		case strings.Contains(head, "\r\nTransfer-Encoding: chunked"):
			var payload string
			payload, stream = dechunk(stream)
			b.WriteString(payload)
		case hasLength:
			n, err := strconv.Atoi(size)
			if err != nil {
				n = len(stream)
			}
			n = min(n, len(stream))
			b.WriteString(stream[:n])
			stream = stream[n:]
		case methods != nil: // it lasts until the end
			b.WriteString(stream)
			return b.String()
		}
	}
	b.WriteString(stream)
	return b.String()
}

var contentLength = regexp.MustCompile(`\r\nContent-Length: \d+`)

// How a chunked body that has no end is written.
const (
	noChunk    = ", and no chunk:)"
	incomplete = ", incomplete)"
)

// begun is what a peer got up to where a body ends too early, in chunks or over HTTP/2.
func begun(got string) string {
	for _, end := range []string{noChunk, incomplete, unended, h2BodyEnd} {
		got = strings.TrimSuffix(got, end)
	}
	return got
}

// dechunk returns a chunked body as one chunk, and what follows it.
func dechunk(stream string) (joined, rest string) {
	var payload strings.Builder
	for {
		line, after, found := strings.Cut(stream, "\r\n")
		size, err := strconv.ParseUint(cmp.Or(line, "-"), 16, 31)
		switch {
		case !found || err != nil:
			return fmt.Sprintf("(chunks: %s%s", payload.String(), noChunk), stream
		case size == 0:
			trailers, rest, _ := strings.Cut("\r\n"+after, "\r\n\r\n")
			return fmt.Sprintf("(chunks: %s, end)%s(end)", payload.String(), trailers), rest
		}
		n := min(int(size), len(after))
		payload.WriteString(after[:n])
		if n < int(size) {
			return fmt.Sprintf("(chunks: %s%s", payload.String(), incomplete), ""
		}
		stream = strings.TrimPrefix(after[n:], "\r\n")
	}
}
