<?php
// phpredis: pipelines, transactions, scripts, serialised values, scans, streams, sessions.
function same($expected, $found) {
    if ($expected !== $found) {
        fwrite(STDERR, "expected " . var_export($expected, true) . ", found " . var_export($found, true) . "\n");
        exit(1);
    }
}
$port = (int)$argv[1];
$redis = new Redis();
$redis->connect("127.0.0.1", $port, 10);
$redis->select(9);
$redis->flushDB();
same([true, 2, "2"], $redis->pipeline()->set("a", 1)->incr("a")->get("a")->exec());
same([true, 3], $redis->multi()->set("b", 2)->incr("b")->exec());
$other = new Redis();
$other->connect("127.0.0.1", $port, 10);
$other->select(9);
$redis->watch("a");
$other->set("a", 9);
same(false, $redis->multi()->incr("a")->exec());
same(["a", "x", "9"], $redis->eval("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}", ["a", "x"], 1));
$redis->hMSet("h", ["f" => "1", "g" => "2"]);
same(["f" => "1", "g" => "2"], $redis->hGetAll("h"));
$redis->zAdd("z", 1.5, "x", 2, "y");
same(["x" => 1.5, "y" => 2.0], $redis->zRange("z", 0, -1, true));
$other->rPush("jobs", "one");
same(["jobs", "one"], $redis->blPop(["jobs"], 10));
same(true, $redis->set("lock", "me", ["nx", "px" => 60000]));
same(false, $redis->set("lock", "you", ["nx", "px" => 60000]));
$redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
$redis->set("object", ["list" => [1, 2.5, null, true]]);
same(["list" => [1, 2.5, null, true]], $redis->get("object"));
$redis->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_NONE);
for ($n = 0; $n < 300; $n++) $redis->sAdd("members", "m$n");
$seen = [];
$cursor = null;
$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
while ($some = $redis->sScan("members", $cursor)) $seen = array_merge($seen, $some);
same(300, count(array_unique($seen)));
$id = $redis->xAdd("s", "*", ["f" => "v"]);
same([$id => ["f" => "v"]], $redis->xRange("s", "-", "+"));
same(false, $redis->lPush("a", 1));
same(1, preg_match("/^WRONGTYPE Operation against a key holding the wrong kind of value/", $redis->getLastError()));
ini_set("session.save_handler", "redis");
ini_set("session.save_path", "tcp://127.0.0.1:$port?database=9");
ini_set("session.use_cookies", "0");
ini_set("session.cache_limiter", "");
session_id("abc");
session_start();
$_SESSION["user"] = "ann";
session_write_close();
same('user|s:3:"ann";', $redis->get("PHPREDIS_SESSION:abc"));
