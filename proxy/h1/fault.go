package h1

// fault is why a message can't be accepted, or not yet. Parsing functions pass
// it around in place of an error since it costs nothing.
type fault uint8

const (
	none fault = iota
	more       // nothing wrong so far: the line has no end yet

	badStart
	badMethod
	badTarget
	badVersion
	otherVersion
	badStatus
	badLineEnd
	badName
	badValue
	badHost
	noHost
	twoHosts
	badLength
	twoLengths
	lengthAndChunked
	twoCodings
	otherCoding
	oldCoding
	bodyForbidden
	longLine
	longHead
	manyFields
	longConnection

	badChunkSize
	bigChunk
	badExtension
	longExtension
	badChunkEnd
	longTrailers
	badTrailer
	manyTrailers
	truncated
)

// describe returns the status for a request with fault f, and its reason.
func (f fault) describe() (status int, reason string) {
	switch f {
	case badStart:
		return 400, "bytes before the start line"
	case badMethod:
		return 400, "method is not a token followed by one space"
	case badTarget:
		return 400, "request target is malformed"
	case badVersion:
		return 400, "protocol version is malformed"
	case otherVersion:
		return 505, "protocol version is neither HTTP/1.0 nor HTTP/1.1"
	case badStatus:
		return 400, "status line is malformed"
	case badLineEnd:
		return 400, "line does not end in CR LF"
	case badName:
		return 400, "field name is not a token followed by a colon"
	case badValue:
		return 400, "field value contains a control character"
	case badHost:
		return 400, "Host is malformed"
	case noHost:
		return 400, "Host is missing"
	case twoHosts:
		return 400, "Host is repeated"
	case badLength:
		return 400, "Content-Length is not a number"
	case twoLengths:
		return 400, "Content-Length is repeated"
	case lengthAndChunked:
		return 400, "Content-Length and Transfer-Encoding are both present"
	case twoCodings:
		return 400, "Transfer-Encoding is repeated"
	case otherCoding:
		return 501, "transfer coding is not chunked"
	case oldCoding:
		return 400, "Transfer-Encoding in HTTP/1.0"
	case bodyForbidden:
		return 400, "message must not have a body"
	case longLine:
		return 414, "start line is too long"
	case longHead:
		return 431, "head is too large"
	case manyFields:
		return 431, "too many fields"
	case longConnection:
		return 431, "Connection lists too much"
	default:
		return f.describeBody()
	}
}

func (f fault) describeBody() (status int, reason string) {
	switch f {
	case badChunkSize:
		return 400, "chunk size is malformed"
	case bigChunk:
		return 400, "chunk size is too large"
	case badExtension:
		return 400, "chunk extension is malformed"
	case longExtension:
		return 400, "chunk extension is too long"
	case badChunkEnd:
		return 400, "chunk does not end in CR LF"
	case longTrailers:
		return 431, "trailer section is too large"
	case badTrailer:
		return 400, "trailer section has a framing or routing field"
	case manyTrailers:
		return 431, "too many trailer fields"
	case truncated:
		return 400, "body is incomplete"
	default:
		panic("h1: fault without description")
	}
}

// inRequest returns the error for f in a request; nil for none and more.
func (f fault) inRequest() error {
	if f <= more {
		return nil
	}
	status, reason := f.describe()
	return &Error{Status: status, Reason: reason}
}

// inResponse returns the error for f in a response; nil for none and more.
func (f fault) inResponse() error {
	if f <= more {
		return nil
	}
	_, reason := f.describe()
	return &Error{Status: 502, Reason: reason}
}
