// Runs lines of statements in DuckDB, each a JSON text, and answers each with a line: the rows of the last statement, or the error.
import { createInterface } from "node:readline";
import { DuckDBInstance } from "@duckdb/node-api";

const connection = await (await DuckDBInstance.create(":memory:")).connect();
await connection.run("SET TimeZone = 'UTC'");
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const reader = await connection.runAndReadAll(JSON.parse(line));
    console.log(JSON.stringify({ rows: reader.getRowObjectsJson() }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
