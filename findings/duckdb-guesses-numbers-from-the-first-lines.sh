#!/usr/bin/env bash
# An NDJSON file whose first fraction stands behind line 20,480, summed by DuckDB.
#
# Versions: DuckDB 1.5.6 (npm @duckdb/node-api 1.5.6-r.1, Node.js 20). Run on 2026-11-28.
#
# Expected: a number that does not fit the guessed type widens the column, or ends the query with an error that names
#   the line, as a CSV cell does that does not fit.
# Seen: types are guessed from the first 20,480 lines. A later 24.6 in a column guessed BIGINT is rounded to 25, and a
#   field that comes later is left out of the table, both without a word; the sum is wrong. sample_size=-1 reads all
#   lines first, and is right. Output:
#     by default: seconds BIGINT, sum 625000, columns id seconds
#     sample_size=-1: seconds DOUBLE, sum 624600, columns id seconds late
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"type":"module","private":true}' > package.json
npm install --silent --no-audit --no-fund @duckdb/node-api@1.5.6-r.1
cat > main.mjs <<'JS'
import { writeFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";

const lines = [];
for (let id = 0; id < 25000; id++) lines.push(JSON.stringify({ id, seconds: 24 }));
for (let id = 25000; id < 26000; id++) lines.push(JSON.stringify({ id, seconds: 24.6, late: "x" }));
writeFileSync("calls.ndjson", lines.join("\n") + "\n");

const db = await (await DuckDBInstance.create(":memory:")).connect();
const rows = async (sql) => (await db.runAndReadAll(sql)).getRowsJson();
for (const [name, option] of [["by default", ""], ["sample_size=-1", ", sample_size=-1"]]) {
  const from = `read_ndjson('calls.ndjson'${option})`;
  const [[type, sum]] = await rows(`SELECT any_value(typeof(seconds)), round(sum(seconds))::BIGINT FROM ${from}`);
  const columns = (await rows(`DESCRIBE SELECT * FROM ${from}`)).map(([column]) => column);
  console.log(`${name}: seconds ${type}, sum ${sum}, columns ${columns.join(" ")}`);
}
JS
node main.mjs | tee output
diff output - <<'WANT'
by default: seconds BIGINT, sum 625000, columns id seconds
sample_size=-1: seconds DOUBLE, sum 624600, columns id seconds late
WANT
