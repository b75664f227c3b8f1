// Serves ClickHouse's HTTP interface from chDB, which is ClickHouse in the process: as much of it as clickhouse-go needs. It prints the
// address that it listens on. Arguments: a folder in which npm has installed chdb, and one for the data.
import { rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { Session } = createRequire(process.argv[2] + "/")("chdb");
const session = new Session(process.argv[3]);

// Blocks of the native protocol, as the client reads its first answer. Revision 0 has it read all others as chDB writes them.
const text = (s) => [s.length, ...Buffer.from(s)];
const column = (name, type, value) => [...text(name), ...text(type), 0, ...value];
const hello = Buffer.from([
  1, 0, 2, 255, 255, 255, 255, 0, 4, 1,
  ...column("displayName()", "String", text("chDB")),
  ...column("version()", "String", text("26.7.3")),
  ...column("revision()", "UInt32", [0, 0, 0, 0]),
  ...column("timezone()", "String", text("UTC")),
]);

// One statement at a time: chDB runs in this process.
let turn = Promise.resolve();
let files = 0;

const answer = async (url, body) => {
  const insert = url.searchParams.get("query");
  if (insert) {
    // chDB takes no rows in the native form but from a file.
    const file = join(tmpdir(), `legato-rows-${process.pid}-${++files}`);
    await writeFile(file, body);
    try {
      const [, table, columns] = /^INSERT INTO (\S+) *\(([^)]*)\)/i.exec(insert);
      await session.queryAsync(`INSERT INTO ${table} (${columns}) SELECT * FROM file('${file}', 'Native')`);
    } finally {
      await rm(file);
    }
    return Buffer.alloc(0);
  }
  const statement = body.toString();
  if (statement.includes("displayName()")) return hello;
  return Buffer.from((await session.queryAsync(statement, { format: "Native" })).bytes());
};

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    turn = turn.then(async () => {
      try {
        response.end(await answer(new URL(request.url, "http://localhost"), Buffer.concat(parts)));
      } catch (error) {
        console.error(error.message);
        response.writeHead(500, { "X-ClickHouse-Exception-Code": String(error.clickhouseCode ?? 1) });
        response.end(error.message);
      }
    });
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
