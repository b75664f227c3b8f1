// Runs the statements of a file in chDB, which is ClickHouse in the process, and prints the rows of each as JSON, a statement a line.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { Session } = createRequire(process.cwd() + "/")("chdb");
const session = new Session(process.argv[3]);
console.error(`ClickHouse ${session.query("SELECT version()", "TabSeparated")}`);
const text = (await readFile(process.argv[2], "utf8")).replaceAll(/^\s*--.*$/gm, "");
for (const statement of text.split(/;\s*(?:\n|$)/)) {
  if (statement.trim() === "") continue;
  const rows = session.query(statement, "JSONEachRow").trim();
  console.log(JSON.stringify(rows === "" ? [] : rows.split("\n").map((row) => JSON.parse(row))));
}
session.cleanup();
