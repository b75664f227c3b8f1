package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/legato-calls/legato/publish/load"
)

// Reject implements load.Target.
func (t *Target) Reject(ctx context.Context, messages []load.Rejected) error {
	if t.conns == nil {
		return errors.New("not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	var batch pgx.Batch
	for _, m := range messages {
		batch.Queue(`INSERT INTO legato.rejected (stream, stream_created, seq, subject, reason, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING`, m.Stream, m.Created, int64(m.Seq), storable(m.Subject), storable(m.Reason), m.Body)
	}
	if err := t.conns[0].SendBatch(ctx, &batch).Close(); err != nil {
		return t.failed(ctx, err)
	}
	return nil
}

// storable is a text that PostgreSQL takes: a subject may be any bytes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
