// Verifies an assertion as an application behind an ALB would, with AWS's own library.
// Input, one JSON object on stdin: {token, keys, alb, issuer, client, at} where `at`, if not 0, is the
// time on the verifier's clock in seconds. Output: {ok, payload} or {ok: false, error}.
import { AlbJwtVerifier } from "aws-jwt-verify";
import { AlbJwksCache } from "aws-jwt-verify/alb-cache";
import { readFileSync } from "node:fs";

const input = JSON.parse(readFileSync(0, "utf8"));
if (input.at) Date.now = () => input.at * 1000;

// The library's own fetcher speaks https only; an application that reads the keys in a private network
// gives it another.
const plain = {
  fetch: async (uri) => {
    const answer = await fetch(uri);
    if (!answer.ok) throw new Error(`${uri}: ${answer.status}`);
    return answer.arrayBuffer();
  },
};

const verifier = AlbJwtVerifier.create(
  { albArn: input.alb, issuer: input.issuer, clientId: input.client, jwksUri: input.keys },
  input.keys.startsWith("http:") ? { jwksCache: new AlbJwksCache({ fetcher: plain }) } : undefined,
);
try {
  console.log(JSON.stringify({ ok: true, payload: await verifier.verify(input.token) }));
} catch (err) {
  console.log(JSON.stringify({ ok: false, error: err.constructor.name + ": " + err.message }));
}
