// node-redis over RESP3: maps and doubles, pipelines, transactions, client-side caching, pub/sub.
const assert = require("node:assert");
const { createClient, WatchError, defineScript } = require("redis");
const url = `redis://127.0.0.1:${process.argv[2]}/7`;

async function main() {
  const triple = defineScript({
    SCRIPT: "return redis.call('GET', KEYS[1]) * 3",
    NUMBER_OF_KEYS: 1,
    parseCommand: (parser, key) => parser.pushKey(key),
    transformReply: (reply) => reply,
  });
  const client = await createClient({ url, RESP: 3, scripts: { triple }, clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: "LRU" } }).connect();
  const other = await createClient({ url }).connect();
  await client.flushDb();
  assert.deepEqual(await Promise.all([client.set("n", 7), client.get("n"), client.triple("n")]), ["OK", "7", 21]);
  await client.hSet("h", { a: "1", b: "2" });
  assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "2" });
  await client.zAdd("z", [{ score: 1.5, value: "x" }, { score: 2, value: "y" }]);
  assert.deepEqual(await client.zRangeWithScores("z", 0, -1), [{ value: "x", score: 1.5 }, { value: "y", score: 2 }]);
  assert.equal(await client.get("n"), "7");
  await other.set("n", 8);
  const until = Date.now() + 20000;
  while ((await client.get("n")) !== "8") {
    assert(Date.now() < until, "the cached value was not invalidated");
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.deepEqual(await client.multi().set("k", "v").get("k").exec(), ["OK", "v"]);
  await other.watch("n");
  await client.set("n", 9);
  await assert.rejects(other.multi().set("n", 10).exec(), WatchError);
  const subscriber = await client.duplicate().connect();
  const heard = new Promise((resolve) => subscriber.subscribe("news", resolve));
  while ((await other.publish("news", "hello")) === 0) assert(Date.now() < until, "nobody subscribed");
  assert.equal(await heard, "hello");
  const id = await client.xAdd("s", "*", { f: "v" });
  assert.equal((await client.xRange("s", "-", "+"))[0].id, id);
  const keys = [];
  for await (const some of client.scanIterator()) keys.push(...some);
  assert.deepEqual(keys.sort(), ["h", "k", "n", "s", "z"]);
  for (const each of [client, other, subscriber]) each.destroy();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
