// `knex migrate:latest`, by its interface.
const { createRequire } = require("node:module");
const knex = createRequire(`${process.cwd()}/`)("knex")({ client: "pg", connection: process.env.DATABASE_URL });
knex.migrate
  .latest({ directory: __dirname, loadExtensions: [".js"] })
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => knex.destroy());
