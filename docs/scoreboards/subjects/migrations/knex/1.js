// Runs the SQL of two steps.
const { readFileSync } = require("node:fs");
const FILES = ["20260101000001_account.sql", "20260101000002_seed.sql"];

exports.up = async (knex) => {
  for (const name of FILES) await knex.raw(readFileSync(`${__dirname}/../sql/${name}`, "utf8"));
};
exports.down = () => {};
