package fake

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// uuidEpoch is where the clock of UUID version 1 begins: the Gregorian calendar.
var uuidEpoch = time.Date(1582, time.October, 15, 0, 0, 0, 0, time.UTC)

// ids mints the ids of one call.
type ids struct {
	rng *rand.Rand
	// number keeps calls apart that begin at the same instant.
	number uint64
	// host is the part of the node that all ids of a generator share.
	host byte
}

// timed returns a UUID version 1 of the instant, as Telnyx gives to legs and sessions. The call's number stands in
// clock sequence and node, 14 and 16 bits, so two calls of one generator have different ids whatever their start.
func (i ids) timed(at time.Time) string {
	// A Duration holds 292 years only: count seconds and the rest apart.
	ticks := uint64(at.Unix()-uuidEpoch.Unix())*1e7 + uint64(at.Nanosecond()/100)
	var b [16]byte
	binary.BigEndian.PutUint32(b[0:], uint32(ticks))
	binary.BigEndian.PutUint16(b[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(b[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(b[8:], uint16(i.number)&0x3fff|0x8000)
	copy(b[10:], []byte{0x02, 0x42, 0xac, i.host})
	binary.BigEndian.PutUint16(b[14:], uint16(i.number>>14))
	return uuidText(b)
}

// random returns a UUID version 4, as Telnyx gives to events and recordings.
func (i ids) random() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[0:], i.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], i.rng.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return uuidText(b)
}

func uuidText(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// token returns n characters of URL-safe base64.
func (i ids) token(n int) string {
	b := make([]byte, n)
	for j := range b {
		b[j] = urlSafe[i.rng.IntN(len(urlSafe))]
	}
	return string(b)
}

// control returns a call control id of the current form.
func (i ids) control() call.ControlID { return call.ControlID("v3:" + i.token(54)) }

// phone returns a number of the block 555-0100 to 555-0199, which is reserved for fiction.
func phone(line int) string { return fmt.Sprintf("+12025550%03d", 100+line%100) }
