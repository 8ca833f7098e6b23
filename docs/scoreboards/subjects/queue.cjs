// Queues of the scoreboard, on Node: `node queue.cjs NAME prepare|enqueue|work [JOBS]` from a folder with node_modules.
// Jobs are those of queues.py.
const { createRequire } = require("node:module");
const load = createRequire(`${process.cwd()}/`);
const [name, command, jobs] = process.argv.slice(2);
const connectionString = process.env.DATABASE_URL;
const replica = process.env.REPLICA ?? "";
const { Pool } = load("pg");
const pool = new Pool({ connectionString, max: 2 });

async function doJob(job) {
  await pool.query("INSERT INTO work (job, replica) VALUES ($1, $2)", [job, replica]);
  await new Promise((over) => setTimeout(over, 100));
  await pool.query("INSERT INTO effect VALUES ($1, $2)", [job, replica]);
}

const queues = {
  "graphile-worker": {
    prepare: () => load("graphile-worker").runMigrations({ connectionString }),
    async enqueue() {
      for (let job = 0; job < Number(jobs); job++)
        await pool.query("SELECT graphile_worker.add_job('job', json_build_object('job', $1::text))", [String(job)]);
    },
    async work() {
      const taskList = { job: ({ job }) => doJob(job) };
      const runner = await load("graphile-worker").run({ connectionString, concurrency: 1, pollInterval: 500, taskList });
      await runner.promise;
    },
  },
  "pg-boss": {
    async open() {
      const library = load("pg-boss");
      const boss = new (library.PgBoss ?? library)({ connectionString, superviseIntervalSeconds: 1, maintenanceIntervalSeconds: 1 });
      boss.on("error", console.error);
      await boss.start();
      return boss;
    },
    async prepare() {
      const boss = await this.open();
      await boss.createQueue("job", { expireInSeconds: 3, retryLimit: 3 });
      await boss.stop();
    },
    async enqueue() {
      const boss = await this.open();
      for (let job = 0; job < Number(jobs); job++) await boss.send("job", { job: String(job) });
      await boss.stop();
    },
    async work() {
      const boss = await this.open();
      await boss.work("job", { pollingIntervalSeconds: 0.5 }, ([job]) => doJob(job.data.job));
      await new Promise(() => setInterval(() => {}, 1000));
    },
  },
};

async function main() {
  if (command === "prepare")
    await pool.query(
      `CREATE TABLE effect (job text, replica text);
       CREATE TABLE work (job text, replica text, at timestamptz DEFAULT clock_timestamp())`,
    );
  await queues[name][command]();
  await pool.end();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
