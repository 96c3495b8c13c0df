package extauthz

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lintel-dev/lintel/router"
)

// Response is what a server has answered (CheckResponse).
type Response struct {
	// Granted says that the request may go on. Status, Fields and Body are the response
	// that the client gets otherwise.
	Granted bool
	Status  int
	Fields  []router.Field
	Body    []byte
	// Set, Append and Remove are what is to be done to the request's fields: Set takes the
	// place of those of its names, and Append comes on top.
	Set, Append []router.Field
	Remove      []string
	// Respond is for the response to the client of a request that went on.
	Respond []router.Field
}

const (
	answerStatus protowire.Number = 1 // CheckResponse
	answerDenied protowire.Number = 2
	answerOK     protowire.Number = 3

	statusCode protowire.Number = 1 // google.rpc.Status, type.v3.HttpStatus

	deniedStatus  protowire.Number = 1 // DeniedHttpResponse
	deniedHeaders protowire.Number = 2
	deniedBody    protowire.Number = 3

	okHeaders     protowire.Number = 2 // OkHttpResponse
	okRemove      protowire.Number = 5
	okRespond     protowire.Number = 6
	okSetQuery    protowire.Number = 7
	okRemoveQuery protowire.Number = 8

	optionHeader protowire.Number = 1 // core.v3.HeaderValueOption
	optionAppend protowire.Number = 2

	headerKey   protowire.Number = 1 // core.v3.HeaderValue
	headerValue protowire.Number = 2
	headerRaw   protowire.Number = 3

	wrappedValue protowire.Number = 1 // google.protobuf.BoolValue
)

var errQuery = errors.New("the server wants to change the query of the request, which is not supported")

// Read reads a CheckResponse. Whatever is not understood, and would change the request, is
// an error: the request must not go on then.
func Read(message []byte) (*Response, error) {
	r := &Response{Status: http.StatusForbidden}
	var code uint64
	err := each(message, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case answerStatus:
			return each(value, func(n protowire.Number, _ []byte, v uint64) error {
				if n == statusCode {
					code = v
				}
				return nil
			})
		case answerDenied:
			return each(value, r.denied)
		case answerOK:
			return each(value, r.ok)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read CheckResponse: %w", err)
	}
	r.Granted = code == 0
	if r.Status < 300 || r.Status > 599 { // it would look as if it had been granted
		r.Status = http.StatusForbidden
	}
	return r, nil
}

func (r *Response) denied(number protowire.Number, value []byte, _ uint64) error {
	switch number {
	case deniedStatus:
		return each(value, func(n protowire.Number, _ []byte, v uint64) error {
			if n == statusCode {
				r.Status = int(v)
			}
			return nil
		})
	case deniedHeaders:
		o, err := readOption(value)
		r.Fields = append(r.Fields, o.field)
		return err
	case deniedBody:
		r.Body = append([]byte(nil), value...)
	}
	return nil
}

func (r *Response) ok(number protowire.Number, value []byte, _ uint64) error {
	switch number {
	case okHeaders:
		o, err := readOption(value)
		if o.appends {
			r.Append = append(r.Append, o.field)
		} else {
			r.Set = append(r.Set, o.field)
		}
		return err
	case okRespond:
		o, err := readOption(value)
		r.Respond = append(r.Respond, o.field)
		return err
	case okRemove:
		r.Remove = append(r.Remove, string(value))
	case okSetQuery, okRemoveQuery:
		return errQuery
	}
	return nil
}

// option is a HeaderValueOption. In ext_authz a field replaces others of its name unless
// it says to be appended.
type option struct {
	field   router.Field
	appends bool
}

func readOption(message []byte) (o option, err error) {
	err = each(message, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case optionHeader:
			return each(value, func(n protowire.Number, v []byte, _ uint64) error {
				switch n {
				case headerKey:
					o.field.Name = string(v)
				case headerValue, headerRaw:
					o.field.Value = string(v)
				}
				return nil
			})
		case optionAppend:
			return each(value, func(n protowire.Number, _ []byte, v uint64) error {
				o.appends = o.appends || n == wrappedValue && v != 0
				return nil
			})
		}
		return nil
	})
	return o, err
}

// each calls read for every field of a message: with the value of one that has a length,
// or with the number of one that is a varint.
func each(message []byte, read func(number protowire.Number, value []byte, v uint64) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		var value []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := read(number, value, v); err != nil {
			return err
		}
	}
	return nil
}
