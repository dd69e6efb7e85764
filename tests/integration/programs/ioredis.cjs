// Pipelines, transactions, scripts by digest, blocking reads, subscriptions, streams and scans.
const assert = require("node:assert");
const Redis = require("ioredis");
const port = Number(process.argv[2]);

async function main() {
  const redis = new Redis({ port, db: 6 });
  const other = redis.duplicate();
  await redis.flushdb();
  const replies = await redis.pipeline().set("a", 1).incr("a").get("a").lpush("a", 1).exec();
  assert.deepEqual(replies.slice(0, 3), [[null, "OK"], [null, 2], [null, "2"]]);
  assert.match(replies[3][0].message, /^WRONGTYPE/);
  assert.deepEqual(await redis.multi().hset("h", { f: 1, g: 2 }).hgetall("h").exec(), [[null, 2], [null, { f: "1", g: "2" }]]);
  await redis.watch("a");
  await other.set("a", 5);
  assert.equal(await redis.multi().incr("a").exec(), null);
  redis.defineCommand("addAll", { numberOfKeys: 1, lua: "local sum = 0 for _, v in ipairs(ARGV) do sum = sum + v end return redis.call('INCRBY', KEYS[1], sum)" });
  assert.equal(await redis.addAll("sum", 1, 2, 3), 6);
  assert.equal(await redis.addAll("sum", 4), 10);
  const waiting = redis.blpop("jobs", 10);
  await other.rpush("jobs", "one");
  assert.deepEqual(await waiting, ["jobs", "one"]);
  const heard = new Promise((resolve) => other.once("pmessage", (...words) => resolve(words)));
  await other.psubscribe("news.*");
  assert.equal(await redis.publish("news.today", "hello"), 1);
  assert.deepEqual(await heard, ["news.*", "news.today", "hello"]);
  await redis.xgroup("CREATE", "events", "group", "$", "MKSTREAM");
  const id = await redis.xadd("events", "*", "f", "v");
  const read = await redis.xreadgroup("GROUP", "group", "me", "BLOCK", 1000, "STREAMS", "events", ">");
  assert.deepEqual(read, [["events", [[id, ["f", "v"]]]]]);
  assert.equal(await redis.xack("events", "group", id), 1);
  for (let n = 0; n < 500; n++) redis.sadd("members", `m${n}`);
  let seen = new Set();
  for await (const some of redis.sscanStream("members", { count: 50 })) some.forEach((one) => seen.add(one));
  assert.equal(seen.size, 500);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await redis.set(bytes, bytes);
  assert.deepEqual(await redis.getBuffer(bytes), bytes);
  await Promise.all([redis.quit(), other.quit()]);
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
