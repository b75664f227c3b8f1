// Package postgres is the warehouse in a PostgreSQL database: the schema legato.
//
// In go rows; out come the tables legs and sessions with the columns of docs/export.md and the whole
// summary in body, a table for each list that is often asked about, and rejected.
//
// What it guarantees:
//   - A batch is one transaction. The rows of a list change in the transaction of the row that they belong to.
//   - A row gives way only to a higher revision, also when several loaders write at once.
//   - Migrations only add, under an advisory lock, and only where something is missing: a role that may
//     write the rows and nothing else is enough once the tables are there.
//   - What PostgreSQL says about the content of a row is not repeated; its SQLSTATE is.
package postgres
