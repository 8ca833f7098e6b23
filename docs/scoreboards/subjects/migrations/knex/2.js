// Runs the SQL of two steps.
const { readFileSync } = require("node:fs");
const FILES = ["20260101000003_cents.sql", "20260101000004_index.sql"];

exports.up = async (knex) => {
  for (const name of FILES) await knex.raw(readFileSync(`${__dirname}/../sql/${name}`, "utf8"));
};
exports.down = () => {};
