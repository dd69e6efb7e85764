# redis-rb: pipelines, transactions, scripts, blocking reads, subscriptions, scans.
require "redis"

def same(expected, found)
  raise "expected #{expected.inspect}, found #{found.inspect}" unless expected == found
end

port = ARGV.fetch(0).to_i
redis = Redis.new(port: port, db: 8)
other = Redis.new(port: port, db: 8)
redis.flushdb
same ["OK", 2, "2"], redis.pipelined { |p| p.set("a", 1); p.incr("a"); p.get("a") }
same ["OK", 3], redis.multi { |t| t.set("b", 2); t.incr("b") }
changed = redis.watch("a") do
  other.set("a", 9)
  redis.multi { |t| t.incr("a") }
end
same nil, changed
sha = redis.script(:load, "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
same ["a", "x", "9"], redis.evalsha(sha, ["a"], ["x"])
redis.mapped_hmset("h", "f" => "1", "g" => "2")
same({ "f" => "1", "g" => "2" }, redis.hgetall("h"))
redis.zadd("z", [[1.5, "x"], [2, "y"]])
same [["x", 1.5], ["y", 2.0]], redis.zrange("z", 0, -1, with_scores: true)
waiting = Thread.new { other.blpop("jobs", timeout: 20) }
redis.rpush("jobs", "one")
same ["jobs", "one"], waiting.value
heard = []
ready = Queue.new
listener = Thread.new do
  Redis.new(port: port).subscribe_with_timeout(20, "news") do |on|
    on.subscribe { ready << true }
    on.message { |channel, text| heard << [channel, text]; Thread.exit }
  end
end
ready.pop
redis.publish("news", "hello")
listener.join
same [["news", "hello"]], heard
redis.sadd("members", (1..300).map { |n| "m#{n}" })
same 300, redis.sscan_each("members").to_a.uniq.size
id = redis.xadd("s", { "f" => "v" })
same [[id, { "f" => "v" }]], redis.xrange("s")
begin
  redis.lpush("a", 1)
  raise "no error"
rescue Redis::CommandError => error
  same "WRONGTYPE Operation against a key holding the wrong kind of value", error.message
end
