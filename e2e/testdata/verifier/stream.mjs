// Verifies assertions one after the other with one verifier, which keeps the keys that it has fetched, as
// a long-lived application behind an ALB does. Input, one JSON object on each line of stdin:
// {token, keys, alb, issuer, client}, of which all but the token is taken from the first line. Output, one
// line for each: {ok} or {ok: false, error}.
import { AlbJwtVerifier } from "aws-jwt-verify";
import { AlbJwksCache } from "aws-jwt-verify/alb-cache";
import { createInterface } from "node:readline";

// The library's own fetcher speaks https only.
const plain = {
  fetch: async (uri) => {
    const answer = await fetch(uri);
    if (!answer.ok) throw new Error(`${uri}: ${answer.status}`);
    return answer.arrayBuffer();
  },
};

let verifier;
for await (const line of createInterface({ input: process.stdin })) {
  const input = JSON.parse(line);
  verifier ??= AlbJwtVerifier.create(
    { albArn: input.alb, issuer: input.issuer, clientId: input.client, jwksUri: input.keys },
    { jwksCache: new AlbJwksCache({ fetcher: plain }) },
  );
  try {
    await verifier.verify(input.token);
    console.log(JSON.stringify({ ok: true }));
  } catch (err) {
    console.log(JSON.stringify({ ok: false, error: err.constructor.name + ": " + err.message }));
  }
}
