// One process of a fleet: GET with a bearer token answers 200 or 401. `node verify.mjs LIBRARY PORT`, from a folder
// with node_modules. The library decides when it fetches keys; its options are its own where no JWKS_… is named here.
import http from "node:http";
import { createRequire } from "node:module";

const [library, port] = process.argv.slice(2);
const load = createRequire(`${process.cwd()}/`);
const { JWKS_URL, JWKS_ISSUER: issuer, JWKS_AUDIENCE: audience } = process.env;
const algorithms = process.env.JWKS_ALGORITHMS.split(",");
const ms = (name) => Number(process.env[name]) * 1000;

const makers = {
  jose() {
    const { createRemoteJWKSet, jwtVerify } = load("jose");
    const options = { cooldownDuration: ms("JWKS_COOL_DOWN_S"), cacheMaxAge: ms("JWKS_TTL_S") };
    const keys = createRemoteJWKSet(new URL(JWKS_URL), { ...options, timeoutDuration: ms("JWKS_FETCH_TIMEOUT_S") });
    return (token) => jwtVerify(token, keys, { issuer, audience, algorithms });
  },
  "jwks-rsa"() {
    const cache = { cache: true, cacheMaxAge: ms("JWKS_TTL_S") };
    const client = load("jwks-rsa")({ jwksUri: JWKS_URL, ...cache, rateLimit: true, jwksRequestsPerMinute: 10 });
    const { verify } = load("jsonwebtoken");
    const key = ({ kid }, done) => client.getSigningKey(kid, (error, found) => done(error, found?.getPublicKey()));
    return (token) =>
      new Promise((accept, refuse) =>
        verify(token, key, { issuer, audience, algorithms }, (error, claims) => (error ? refuse(error) : accept(claims))),
      );
  },
};

const verify = makers[library]();
http
  .createServer({ maxHeaderSize: 1 << 18 }, async ({ headers }, answer) => {
    try {
      await verify((headers.authorization ?? "").slice("Bearer ".length));
      answer.statusCode = 200;
    } catch {
      answer.statusCode = 401;
    }
    answer.end();
  })
  .listen(Number(port), "127.0.0.1");
