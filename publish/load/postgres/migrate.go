package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/legato-calls/legato/publish/load"
)

// migrationLock is the key of the advisory lock: of several loaders that start at once, one migrates.
const migrationLock = 0x4c656761746f // "Legato"

// migrate adds what is missing and returns the identity of the warehouse.
func (t *Target) migrate(ctx context.Context, conn *pgx.Conn) (identity string, err error) {
	missing, err := t.missing(ctx, conn)
	if err != nil {
		return "", err
	}
	if len(missing) > 0 {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
				return err
			}
			// Another loader may have added it meanwhile.
			missing, err := t.missing(ctx, tx)
			if err != nil {
				return err
			}
			for _, statement := range missing {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("complete the tables: %w", plain(err))
		}
	}
	return identify(ctx, conn)
}

// identify returns the identity of the warehouse, which it is given when it has none.
func identify(ctx context.Context, conn *pgx.Conn) (identity string, err error) {
	const read = "SELECT id FROM legato.target"
	err = conn.QueryRow(ctx, read).Scan(&identity)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err = conn.Exec(ctx, "INSERT INTO legato.target (id) VALUES ($1) ON CONFLICT DO NOTHING", rand.Text()); err == nil {
			err = conn.QueryRow(ctx, read).Scan(&identity)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the identity of the warehouse: %w", plain(err))
	}
	return identity, nil
}

// querier is a connection, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// missing returns the statements that complete the schema: none when it is whole. It fails with load.ErrConfig when a
// column is there with another type.
func (t *Target) missing(ctx context.Context, conn querier) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`, Schema)
	if err != nil {
		return nil, plain(err)
	}
	have := make(map[string]map[string]string)
	var name, attribute, typ string
	if _, err := pgx.ForEachRow(rows, []any{&name, &attribute, &typ}, func() error {
		if have[name] == nil {
			have[name] = make(map[string]string)
		}
		have[name][attribute] = typ
		return nil
	}); err != nil {
		return nil, plain(err)
	}
	var statements []string
	if len(have) == 0 {
		return t.model.statements(), nil
	}
	for _, table := range t.model.tables {
		if have[table.name] == nil {
			statements = append(append(statements, table.create()...), t.model.fill(table)...)
			continue
		}
		for _, c := range table.columns {
			switch is := have[table.name][c.name]; is {
			case c.typ:
			case "":
				statements = append(statements, table.add(c))
			default:
				return nil, fmt.Errorf("column %s.%s.%s is of type %s instead of %s: %w", Schema, table.name, c.name, is, c.typ, load.ErrConfig)
			}
		}
	}
	return statements, nil
}
