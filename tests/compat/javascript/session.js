// A session of RethinkDB's JavaScript driver: what reads differently in JavaScript must work as it does there.
// node session.js PORT   (the package `rethinkdb` must be found by require)

const assert = require("node:assert/strict");
const r = require("rethinkdb");

const port = Number(process.argv[2]);
let checks = 0;

// The driver gives result arrays methods of its own, which are no part of the answer.
const plain = (value) => (Array.isArray(value) ? Array.from(value, plain) : value);

async function check(name, query, expected) {
  const answer = plain(await query);
  try {
    assert.deepEqual(answer, expected);
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
  checks += 1;
}

async function fails(name, query, errorName, message) {
  await assert.rejects(query, (error) => {
    assert.equal(error.name, errorName, name);
    assert.match(error.msg, message, name);
    return true;
  });
  checks += 1;
}

async function list(query, conn) {
  const result = await query.run(conn);
  return Array.isArray(result) ? result : result.toArray();
}

async function main() {
  const conn = await r.connect({ host: "127.0.0.1", port });
  await r.dbCreate("js").run(conn);
  conn.use("js");
  await check("tableCreate", r.tableCreate("heroes", { primaryKey: "name" })("tables_created").run(conn), 1);
  const heroes = r.table("heroes");
  const rows = [
    { name: "ada", born: 1815, tags: ["maths", "engine"], place: { city: "London" } },
    { name: "grace", born: 1906, tags: ["navy", "compiler"], place: { city: "New York" } },
    { name: "alan", born: 1912, tags: ["maths", "machine"] },
  ];
  await check("insert", heroes.insert(rows, { returnChanges: true })("inserted").run(conn), 3);

  // Reading: fields by call, r.row, anonymous functions, optional arguments in camel case.
  await check("get", heroes.get("ada")("place")("city").run(conn), "London");
  await check("r.row", list(heroes.filter(r.row("born").gt(1900)).orderBy("name")("name"), conn), ["alan", "grace"]);
  await check(
    "functions",
    list(heroes.filter((hero) => hero("tags").contains("maths")).orderBy(r.desc("born"))("name"), conn),
    ["alan", "ada"],
  );
  await check(
    "filter with a default",
    list(heroes.filter(r.row("place")("city").eq("London"), { default: true }).orderBy("name")("name"), conn),
    ["ada", "alan"],
  );
  await check("getAll", list(heroes.getAll("ada", "alan").orderBy("name")("name"), conn), ["ada", "alan"]);
  await check(
    "r.args",
    list(heroes.getAll(r.args(["ada", "grace"])).orderBy("name")("name"), conn),
    ["ada", "grace"],
  );
  await check(
    "between with bounds",
    list(heroes.between("ada", "grace", { rightBound: "closed" }).orderBy({ index: "name" })("name"), conn),
    ["ada", "alan", "grace"],
  );
  await check("pluck", heroes.get("alan").pluck("born").run(conn), { born: 1912 });
  await check("hasFields", heroes.hasFields({ place: { city: true } }).count().run(conn), 2);
  await check("nth", heroes.orderBy("born").nth(0)("name").run(conn), "ada");
  await check("slice", list(heroes.orderBy("born").slice(1, 2)("name"), conn), ["grace"]);
  await check("r.do", r.do(2, 3, (left, right) => left.mul(right)).run(conn), 6);
  await check("branch", r.branch(r.expr(1).eq(1), "yes", "no").run(conn), "yes");
  await check("concatMap", list(heroes.concatMap((hero) => hero("tags")).distinct(), conn), [
    "compiler", "engine", "machine", "maths", "navy",
  ]);
  await check(
    "group",
    heroes.group((hero) => hero("born").div(100).floor()).count().ungroup().orderBy("group").run(conn),
    [{ group: 18, reduction: 1 }, { group: 19, reduction: 2 }],
  );
  await check("grouped", heroes.group(r.row("born").gt(1900)).count().run(conn), [
    { group: false, reduction: 1 },
    { group: true, reduction: 2 },
  ]);
  await check("reduce", heroes.map(r.row("born")).reduce((a, b) => a.add(b)).run(conn), 1815 + 1906 + 1912);
  await check("fold", r.expr([1, 2, 3]).fold(10, (total, item) => total.add(item)).run(conn), 16);
  await check("merge", heroes.get("alan").merge((hero) => ({ age: r.expr(1954).sub(hero("born")) }))("age").run(conn), 42);
  await check("eqJoin", list(r.expr([{ who: "ada", n: 1 }]).eqJoin("who", heroes).zip().pluck("born", "n"), conn), [
    { n: 1, born: 1815 },
  ]);
  await check("forEach", r.expr(["x", "y"]).forEach((name) => heroes.insert({ name }))("inserted").run(conn), 2);
  await check("delete", heroes.getAll("x", "y").delete()("deleted").run(conn), 2);

  // Indexes.
  await heroes.indexCreate("century", r.row("born").div(100).floor()).run(conn);
  await heroes.indexCreate("tags", { multi: true }).run(conn);
  await heroes.indexWait().run(conn);
  await check("index", list(heroes.getAll(19, { index: "century" }).orderBy("name")("name"), conn), ["alan", "grace"]);
  await check("multi index", heroes.getAll("maths", { index: "tags" }).count().run(conn), 2);

  // Writing.
  await check("update", heroes.get("ada").update({ born: r.row("born").add(0), seen: true })("replaced").run(conn), 1);
  await check(
    "conflict function",
    heroes.insert({ name: "ada", seen: 2 }, { conflict: (id, old, fresh) => old.merge(fresh) })("replaced").run(conn),
    1,
  );
  await check("r.literal", heroes.get("ada").update({ place: r.literal({ country: "UK" }) })("replaced").run(conn), 1);
  await check("after r.literal", heroes.get("ada")("place").run(conn), { country: "UK" });
  heroes.insert({ name: "noreply" }).run(conn, { noreply: true });
  await conn.noreplyWait();
  await check("noreply", heroes.get("noreply").delete()("deleted").run(conn), 1);

  // Values: dates, binary, times, what JavaScript has no word for.
  const date = new Date(Date.UTC(2026, 1, 3, 4, 5, 6, 789));
  await check("a date and back", r.expr(date).run(conn), date);
  await check("parts of a date", r.expr(date).month().run(conn), 2);
  await check("iso8601", r.ISO8601("2026-02-03T04:05:06.789Z").run(conn), date);
  await check("weekday", r.expr(date).dayOfWeek().eq(r.tuesday).run(conn), true);
  await check("binary", r.binary(Buffer.from([0, 1, 255])).run(conn), Buffer.from([0, 1, 255]));
  await check("typeOf", r.binary(Buffer.from("x")).typeOf().run(conn), "PTYPE<BINARY>");
  await check("null", r.expr({ a: null }).run(conn), { a: null });
  await check("coerceTo", r.expr({ a: 1 }).coerceTo("array").run(conn), [["a", 1]]);
  await check("r.js", r.js("(function (x) { return x + 1 })(41)").run(conn), 42);
  await check("r.json", r.json("[1, 2]").run(conn), [1, 2]);
  await check("match", r.expr("name@host").match("(.*)@")("groups").nth(0)("str").run(conn), "name");
  await check("minval", heroes.between(r.minval, r.maxval).count().run(conn), 3);
  await check("point", r.distance(r.point(0, 0), r.point(0, 0)).run(conn), 0);

  // Cursors: next, each, toArray, close.
  await r.tableCreate("numbers").run(conn);
  const numbers = r.table("numbers");
  await numbers.insert(r.range(500).map((id) => ({ id })).coerceTo("array")).run(conn);
  const cursor = await numbers.orderBy({ index: "id" }).run(conn, { maxBatchRows: 50 });
  await check("next", cursor.next(), { id: 0 });
  await check("next again", cursor.next(), { id: 1 });
  const rest = await cursor.toArray();
  assert.equal(rest.length, 498);
  const eached = await new Promise((resolve, reject) => {
    const seen = [];
    numbers.run(conn, { maxBatchRows: 100 }, (failure, found) => {
      if (failure) return reject(failure);
      return found.each((error, row) => (error ? reject(error) : seen.push(row.id)), () => resolve(seen));
    });
  });
  assert.equal(new Set(eached).size, 500);
  const closed = await numbers.run(conn, { maxBatchRows: 10 });
  await closed.close();
  checks += 3;

  // A changefeed.
  const feed = await heroes.filter(r.row("born").gt(1900)).changes({ includeInitial: false }).run(conn);
  await heroes.insert({ name: "edsger", born: 1930 }).run(conn);
  const change = await feed.next();
  await check("a change", change, { old_val: null, new_val: { name: "edsger", born: 1930 } });
  await feed.close();

  // Errors have the driver's classes.
  await fails("a missing field", heroes.get("ada")("nothing").run(conn), "ReqlNonExistenceError", /No attribute `nothing`/);
  await fails("r.error", r.error("mine").run(conn), "ReqlUserError", /mine/);
  await fails("a missing table", r.table("none").run(conn), "ReqlOpFailedError", /does not exist/);
  await fails("logic", r.expr(1).add("a").run(conn), "ReqlQueryLogicError", /Expected type NUMBER/);

  await conn.close();
  console.log(`${checks} checks`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
