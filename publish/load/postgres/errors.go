package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legato-calls/legato/publish/load"
)

// Classes of SQLSTATE: what a value is guilty of, and what only people can put right.
const (
	classData       = "22" // data exception
	classConstraint = "23" // integrity constraint violation
	classLimit      = "54" // program limit exceeded: a row that is too large
	classLogin      = "28" // invalid authorization
	classCatalog    = "3D" // the database does not exist
	classAccess     = "42" // syntax error or access rule violation
)

// plain returns an error of PostgreSQL without what it says about values: its detail, its context, and for errors of
// content its message, too.
func plain(err error) error {
	var from *pgconn.PgError
	if !errors.As(err, &from) {
		return err
	}
	at := ""
	for _, part := range []string{from.TableName, from.ColumnName, from.ConstraintName} {
		if part != "" {
			at += " " + part
		}
	}
	if at != "" {
		at = " at" + at
	}
	switch class := from.Code[:min(2, len(from.Code))]; class {
	case classData, classConstraint, classLimit:
		return &load.Refusal{Reason: "PostgreSQL does not take it" + at + " (SQLSTATE " + from.Code + ")"}
	case classLogin, classCatalog, classAccess:
		return fmt.Errorf("%s%s (SQLSTATE %s): %w", from.Message, at, from.Code, load.ErrConfig)
	}
	return fmt.Errorf("%s (SQLSTATE %s)", strings.TrimSpace(from.Message), from.Code)
}
