package parquetfile

import (
	"sync"

	"github.com/klauspost/compress/zstd"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// codec compresses pages with Zstandard, and reads them as the library does. The compressors of the library keep a history of
// megabytes, which no page of ours ever fills; those of its default level need more time and memory than this one's for files
// that are four percent smaller.
type codec struct {
	parquetzstd.Codec
	compressors sync.Pool
}

// window is how far back a compressor looks: over a page.
const window = 128 << 10

// Encode implements compress.Codec.
func (c *codec) Encode(to, page []byte) ([]byte, error) {
	z, ok := c.compressors.Get().(*zstd.Encoder)
	if !ok {
		var err error
		if z, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false)); err != nil {
			return nil, err
		}
	}
	defer c.compressors.Put(z)
	return z.EncodeAll(page, to[:0]), nil
}
