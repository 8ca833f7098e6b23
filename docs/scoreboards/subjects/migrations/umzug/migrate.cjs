// Umzug on Sequelize over the SQL files: `node migrate.cjs` from a folder with node_modules.
const { createRequire } = require("node:module");
const { readFileSync, readdirSync } = require("node:fs");
const load = createRequire(`${process.cwd()}/`);
const { Sequelize } = load("sequelize");
const { Umzug, SequelizeStorage } = load("umzug");

const folder = `${__dirname}/../sql`;
const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false });
const umzug = new Umzug({
  migrations: readdirSync(folder)
    .sort()
    .map((name) => ({ name, up: () => sequelize.query(readFileSync(`${folder}/${name}`, "utf8")) })),
  storage: new SequelizeStorage({ sequelize }),
  logger: undefined,
});

umzug.up().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
