// Limiters of the scoreboard, on Node: `node limiter.cjs NAME PORT` from a folder with node_modules serves GET / with
// 200, or 429 over twenty a second.
const { createRequire } = require("node:module");
const load = createRequire(`${process.cwd()}/`);
const [name, port] = process.argv.slice(2);
const app = load("express")();

if (name === "express-rate-limit") {
  app.use(load("express-rate-limit").rateLimit({ windowMs: 1000, limit: 20 }));
  app.get("/", (_, answer) => answer.send(""));
  app.listen(port, "127.0.0.1");
} else {
  const { RateLimiterPostgres } = load("rate-limiter-flexible");
  const { Pool } = load("pg");
  const storeClient = new Pool({ connectionString: process.env.DATABASE_URL, max: 4 });
  const limiter = new RateLimiterPostgres({ storeClient, points: 20, duration: 1, tableName: "limits" }, (error) => {
    if (error) throw error;
    app.get("/", (_, answer) =>
      limiter.consume("all").then(
        () => answer.send(""),
        (refused) => answer.status(refused instanceof Error ? 500 : 429).send(""),
      ),
    );
    app.listen(port, "127.0.0.1");
  });
}
