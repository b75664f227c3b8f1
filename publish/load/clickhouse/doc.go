// Package clickhouse keeps a warehouse in ClickHouse current.
//
// In go the batches of package load; out come rows of the tables leg_revisions and session_revisions of the database legato,
// which are ReplacingMergeTree: of several revisions of a leg or session the highest remains. The views legs and sessions
// show that one only, also before ClickHouse has merged.
//
// What it guarantees:
//   - The effect of a row does not depend on how often or in which order it is inserted.
//   - Tables are only added to; columns that are not Legato's are left alone. A column of another type is refused.
//   - Money is Decimal(18, 6), exact or null; lists of objects are Nested, lists of texts Array(String).
//   - No error shows what is in a row.
//
// Legs and sessions of a batch are two inserts: a leg can be seen before its session.
package clickhouse
