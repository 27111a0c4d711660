// An OpenID provider on a loopback port of its own choice, by the certified library oidc-provider.
// Argument, one JSON object: {secret, redirect, signedOut, accessTTL}, which are the client secret, the two
// addresses to come back to, and the life of access tokens in seconds. It prints its issuer on a line when
// it listens, and ends when its standard input does.
import { createHash, generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { request as requestTLS } from "node:https";
import { Provider } from "oidc-provider";

const spec = JSON.parse(process.argv[2]);

const key = (kid, type, options) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), kid, use: "sig",
});

// Who may sign in as what. The development forms take any name and any password; many-N has N roles that
// nothing can compress.
const roles = { alice: ["users", "admins"], bob: ["users"] };
const rolesOf = (id) => {
  const many = /^many-(\d+)$/.exec(id);
  const role = (_, i) => createHash("sha256").update(`${id} ${i}`).digest("base64url");
  return many ? Array.from({ length: Number(many[1]) }, role) : roles[id] ?? [];
};

// One client for each algorithm that may sign its ID tokens, and some that differ in other ways.
const client = (id, algorithm, more) => ({
  client_id: id,
  client_secret: spec.secret,
  redirect_uris: [spec.redirect],
  post_logout_redirect_uris: [spec.signedOut],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "client_secret_basic",
  id_token_signed_response_alg: algorithm,
  ...more,
});

// Logout tokens go to the gateway by its name, whose address the test says (/_gateway): no name server knows
// it, and its certificate is its own.
const backchannel = { backchannel_logout_uri: new URL("/oauth2/backchannel_logout", spec.redirect).href };
let gateway;
const toGateway = (url, { method, headers, body }) => new Promise((resolve, reject) => {
  const { host, hostname, pathname } = new URL(url);
  const request = requestTLS({
    host: "127.0.0.1", port: gateway, servername: hostname, path: pathname, method, rejectUnauthorized: false,
    headers: { ...Object.fromEntries(headers), host },
  }, (response) => resolve(new Response(null, { status: response.resume().statusCode })));
  request.on("error", reject).end(String(body));
});

const algorithms = ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"];

const configuration = {
  clients: [
    ...algorithms.map((a) => client(`gatehouse-${a}`, a)),
    client("gatehouse-public", "RS256", { token_endpoint_auth_method: "none", client_secret: undefined }),
    client("gatehouse-post", "RS256", { token_endpoint_auth_method: "client_secret_post" }),
    client("gatehouse-pairwise", "RS256", { subject_type: "pairwise" }),
    client("gatehouse-userinfo", "RS256", { userinfo_signed_response_alg: "ES256" }),
    client("gatehouse-sid", "RS256", { ...backchannel, backchannel_logout_session_required: true }),
    client("gatehouse-sub", "RS256", backchannel),
    {
      client_id: "machine", client_secret: spec.secret, redirect_uris: [], response_types: [],
      grant_types: ["client_credentials"], token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  jwks: {
    keys: [
      // Two RSA keys, so that the key id is needed to tell which one signed.
      key("rsa-1", "rsa", { modulusLength: 2048 }),
      key("rsa-2", "rsa", { modulusLength: 2048 }),
      key("p256", "ec", { namedCurve: "P-256" }),
      key("p384", "ec", { namedCurve: "P-384" }),
      key("ed25519", "ed25519"),
    ],
  },
  enabledJWA: { idTokenSigningAlgValues: algorithms, userinfoSigningAlgValues: algorithms },
  subjectTypes: ["public", "pairwise"],
  pairwiseIdentifier: (_, id, { clientId }) => createHash("sha256").update(`${clientId} ${id}`).digest("hex"),
  claims: { email: ["email", "email_verified"], profile: ["name", "preferred_username"], roles: ["roles"] },
  scopes: ["openid", "offline_access", "orders.read"],
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, email: `${id}@example.com`, email_verified: true, name: id, preferred_username: id,
      roles: rolesOf(id),
    }),
  }),
  cookies: { keys: ["a key of the tests"] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  fetch: toGateway,
  ttl: {
    AccessToken: spec.accessTTL, AuthorizationCode: 60, ClientCredentials: 600, Grant: 3600, IdToken: 600,
    Interaction: 600, RefreshToken: 3600, Session: 3600,
  },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    jwtUserinfo: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // Access tokens for a resource are JWTs (RFC 9068); those of a login are opaque.
      getResourceServerInfo: (_, resource) => ({
        scope: "orders.read", audience: resource, accessTokenFormat: "jwt",
        jwt: { sign: { alg: resource.endsWith("/es256") ? "ES256" : "RS256" } },
      }),
    },
  },
};

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const calls = {};
  provider.on("server_error", (_, err) => console.error(err));
  for (const event of ["authorization.error", "grant.error", "userinfo.error", "revocation.error", "end_session.error"]) {
    provider.on(event, (_, err) => {
      calls[event] = (calls[event] ?? 0) + 1;
      console.error(event, err.message, err.error_detail ?? "");
    });
  }
  provider.on("backchannel.success", () => { calls["backchannel.success"] = (calls["backchannel.success"] ?? 0) + 1; });
  provider.on("backchannel.error", (_, err) => console.error("backchannel.error", err));
  const answer = provider.callback();
  server.on("request", (request, response) => {
    const path = new URL(request.url, issuer).pathname;
    if (path === "/_calls") {
      response.end(JSON.stringify(calls));
      return;
    }
    if (path === "/_gateway") {
      gateway = new URL(request.url, issuer).searchParams.get("port");
      response.end();
      return;
    }
    calls[path] = (calls[path] ?? 0) + 1;
    answer(request, response);
  });
  console.log(issuer);
});
process.stdin.on("end", () => process.exit(0)).resume();
