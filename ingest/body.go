package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// firstBuffer is what a request gets before any of its body has come. Nearly every webhook fits (1 to 4 KiB seen),
// so its buffer is allocated once and at its length; a Content-Length that lies costs no more than this.
const firstBuffer = 16 << 10

// checkContent returns the media type, and refuses a request that does not say that its body is plain JSON, or, where
// forms are taken, a form. Parameters are dropped: they are not part of what is signed.
func checkContent(header http.Header, forms bool) (media string, err error) {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", refuse(resultContentType, nil)
	}
	contentType := header.Get("Content-Type")
	if contentType == "application/json" {
		return contentType, nil
	}
	media, _, err = mime.ParseMediaType(contentType)
	// A parameter that cannot be read does not change what the body is.
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return "", refuse(resultContentType, nil)
	}
	if media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json") {
		return media, nil
	}
	switch {
	case media == mediaForm && forms:
		return media, nil
	case media == mediaForm:
		return "", refuseForm()
	}
	return "", refuse(resultContentType, nil)
}

// mediaForm is the media type of TeXML's callbacks.
const mediaForm = "application/x-www-form-urlencoded"

// refuseForm is the refusal of a form that no application is there to answer.
func refuseForm() error { return &problem{result: resultContentType, detail: notTeXML} }

// readBody reads a body of the announced length (-1: not announced) once, into
// memory of its own that the caller may keep. The buffer grows with what
// arrives, never ahead of it by more than its own size. It asks hold before it grows.
//
// It refuses a body longer than limit as too large, one that breaks off as
// incomplete, and one that there is no memory for as overload.
func readBody(r io.Reader, length, limit int64, hold func(int64) bool) ([]byte, error) {
	if length > limit {
		return nil, refuse(resultTooLarge, nil)
	}
	// One byte over the limit tells too large from just large enough.
	end := limit + 1
	if length >= 0 {
		end = length
	}
	buf := make([]byte, 0, min(end, firstBuffer))
	for int64(len(buf)) < end {
		if len(buf) == cap(buf) {
			size := min(end, 2*int64(cap(buf)))
			if !hold(size - int64(cap(buf))) {
				return nil, refuse(resultOverloaded, nil)
			}
			grown := make([]byte, len(buf), size)
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, refuse(resultIncomplete, fmt.Errorf("read body: %w", err))
		}
	}
	if int64(len(buf)) > limit {
		return nil, refuse(resultTooLarge, nil)
	}
	if cap(buf) > 2*len(buf) {
		return bytes.Clone(buf), nil // it is kept for a while, and counted by its length
	}
	return buf, nil
}
