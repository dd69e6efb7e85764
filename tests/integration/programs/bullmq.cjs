// A queue with priorities, delays, retries, a flow of parent and children, rate limits and events.
const assert = require("node:assert");
const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");
const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };

async function main() {
  const queue = new Queue("work", { connection });
  const events = new QueueEvents("work", { connection });
  await events.waitUntilReady();
  const order = [];
  const attempts = new Map();
  for (const priority of [3, 1, 2]) await queue.add("ranked", { n: priority }, { priority });
  const worker = new Worker(
    "work",
    async (job) => {
      attempts.set(job.id, (attempts.get(job.id) || 0) + 1);
      if (job.name === "ranked") order.push(job.data.n);
      if (job.name === "flaky" && attempts.get(job.id) < 3) throw new Error("again");
      if (job.name === "parent") return Object.values(await job.getChildrenValues());
      await job.updateProgress(50);
      await job.log("seen");
      return job.data.n * 2;
    },
    { connection },
  );
  const plain = [];
  for (let n = 0; n < 20; n++) plain.push(await queue.add("plain", { n }));
  const delayed = await queue.add("delayed", { n: 21 }, { delay: 200 });
  const flaky = await queue.add("flaky", { n: 4 }, { attempts: 3, backoff: { type: "fixed", delay: 50 } });
  for (const [n, job] of plain.entries()) assert.equal(await job.waitUntilFinished(events, 20000), n * 2);
  assert.equal(await delayed.waitUntilFinished(events, 20000), 42);
  assert.equal(await flaky.waitUntilFinished(events, 20000), 8);
  assert.equal(attempts.get(flaky.id), 3);
  assert.deepEqual(order, [1, 2, 3]);
  const flow = new FlowProducer({ connection });
  const children = [1, 2].map((n) => ({ name: "child", queueName: "work", data: { n } }));
  const tree = await flow.add({ name: "parent", queueName: "work", data: {}, children });
  assert.deepEqual((await tree.job.waitUntilFinished(events, 20000)).sort(), [2, 4]);
  await queue.upsertJobScheduler("every", { every: 100, limit: 2 }, { name: "plain", data: { n: 5 } });
  const until = Date.now() + 20000;
  while ((await queue.getJobCounts("completed")).completed < 29) {
    assert(Date.now() < until, JSON.stringify(await queue.getJobCounts()));
    await new Promise((done) => setTimeout(done, 20));
  }
  assert.equal((await queue.getJobLogs(plain[0].id)).count, 1);
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  await worker.close();
  await queue.obliterate({ force: true });
  assert.equal((await queue.getJobCounts("completed")).completed, 0);
  await Promise.all([events.close(), flow.close(), queue.close()]);
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
