package telnyx

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ParseBoth reads a body as this package does and as encoding/json does; nil: it was refused.
func ParseBoth(body []byte) (got, standard any) {
	if f, err := parse[payload](body); err == nil {
		got = f
	}
	f := new(frame[payload])
	var wrongType *json.UnmarshalTypeError
	err := json.Unmarshal(body, f)
	f.unread = errors.As(err, &wrongType) || errors.Is(err, errUnread)
	if (err == nil || f.unread) && bytes.HasPrefix(bytes.TrimLeft(body, jsonSpace), []byte("{")) {
		standard = f
	}
	return got, standard
}
