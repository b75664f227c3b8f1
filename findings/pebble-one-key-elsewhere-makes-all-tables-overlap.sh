#!/usr/bin/env bash
# A log in pebble: entries of 1 KiB under keys in order and, every 500 of them, one note of 8 bytes under a single key that lies
# elsewhere. What do the notes cost?
#
# Versions: pebble 2.1.7 (github.com/cockroachdb/pebble/v2). Run on 2026-11-29.
#
# Expected: entries in order make tables that do not overlap, which are moved down without being read, and a note costs its 8 bytes.
# Seen: that is so without notes. With them each table spans all keys from its first entry to the note, so every table overlaps all
#   that come after it, and they are merged: a half of what is written, and with larger logs up to 100 MB at a time. Output:
#     entries alone: nothing is merged
#     with the notes: more than a quarter of what was written is merged
#   What changes all the time beside entries in order stands in another store, or in a file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.26

require github.com/cockroachdb/pebble/v2 v2.1.7
MOD
cat > main.go <<'GO'
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }

// run writes entries of 1 KiB under keys in order and, where notes is true, every 500 of them a note of 8 bytes under one key
// elsewhere. It returns what was written and what of it was merged, in bytes.
func run(notes bool) (written, merged uint64) {
	dir, err := os.MkdirTemp("", "pebble")
	check(err)
	defer os.RemoveAll(dir)
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}, MemTableSize: 1 << 20, FormatMajorVersion: pebble.FormatNewest})
	check(err)
	value := make([]byte, 1024)
	for i := range 60_000 {
		for j := range value {
			value[j] = byte(i*131 + j*i)
		}
		number := binary.BigEndian.AppendUint64(nil, uint64(i))
		check(db.Set(append([]byte("entry"), number...), value, pebble.NoSync))
		if notes && i%500 == 499 {
			check(db.Set([]byte("note"), number, pebble.NoSync))
		}
		written += uint64(len(value))
	}
	check(db.Flush())
	for _, level := range db.Metrics().Levels {
		merged += level.TableBytesCompacted
	}
	check(db.Close())
	return written, merged
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if _, merged := run(false); merged == 0 {
		fmt.Println("entries alone: nothing is merged")
	}
	if written, merged := run(true); merged > written/4 {
		fmt.Println("with the notes: more than a quarter of what was written is merged")
	}
}
GO
go mod tidy >/dev/null 2>&1
diff - <(go run .) <<'SEEN'
entries alone: nothing is merged
with the notes: more than a quarter of what was written is merged
SEEN
