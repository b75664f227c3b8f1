// Runs the statements of a file in DuckDB and prints the rows of each as JSON, a statement a line.
import { readFile } from "node:fs/promises";
import { DuckDBInstance, version } from "@duckdb/node-api";

console.error(`DuckDB ${version()}`);
const connection = await (await DuckDBInstance.create(":memory:")).connect();
await connection.run("SET TimeZone = 'UTC'");
const text = (await readFile(process.argv[2], "utf8")).replaceAll(/^\s*--.*$/gm, "");
for (const statement of text.split(/;\s*(?:\n|$)/)) {
  if (statement.trim() === "") continue;
  const reader = await connection.runAndReadAll(statement);
  console.log(JSON.stringify(reader.getRowObjectsJson()));
}
