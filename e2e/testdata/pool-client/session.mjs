// A person's life in a user pool, with the library that browsers use. It is given no secret.
// Input, one JSON object on stdin: {endpoint, pool, client, codes, name, only} where endpoint is what the library takes for the pool's API
// and codes is where the development pool shows the codes that it would have mailed.
// With "only", one step alone is taken. SRP takes this library a second or so, so that three sign-ins have it and the others
// send the password.
// Output: one JSON object with what came of each step.
import cognito from "amazon-cognito-identity-js";
import { readFileSync } from "node:fs";

const { AuthenticationDetails, CognitoUser, CognitoUserAttribute, CognitoUserPool } = cognito;
const input = JSON.parse(readFileSync(0, "utf8"));
const pool = new CognitoUserPool({ UserPoolId: input.pool, ClientId: input.client, endpoint: input.endpoint });
const name = `Zoë O'Neil ${input.name}`;
const email = `${input.name}@example.com`;
const out = {};

const user = (Username) => new CognitoUser({ Username, Pool: pool });
const code = async () => (await (await fetch(input.codes)).json())[name];

// call turns the library's callbacks into a promise.
const call = (f) => new Promise((resolve, reject) => f((err, data) => (err ? reject(err) : resolve(data))));
const events = (resolve, reject) => ({ onSuccess: resolve, onFailure: reject, inputVerificationCode: resolve });
const signIn = (who, Password, flow = "USER_PASSWORD_AUTH") =>
  new Promise((resolve, reject) => {
    who.setAuthenticationFlowType(flow);
    const details = new AuthenticationDetails({ Username: who.getUsername(), Password });
    who.authenticateUser(details, { onSuccess: resolve, onFailure: reject });
  });

// step records what a step gives, or the code of its error.
const step = async (label, f) => {
  if (input.only && input.only !== label) return;
  try {
    out[label] = (await f()) ?? "done";
  } catch (err) {
    out[label] = `${err.code ?? err.name}: ${err.message}`;
  }
};
const subject = (session) => session.getIdToken().payload["cognito:username"];

await step("sign up", async () => {
  const attributes = [new CognitoUserAttribute({ Name: "email", Value: email })];
  const result = await call((cb) => pool.signUp(name, "first-Passw0rd!", attributes, null, cb));
  return result.userConfirmed ? "confirmed" : "unconfirmed";
});
await step("sign in unconfirmed", () => signIn(user(name), "first-Passw0rd!"));
await step("resend", () => call((cb) => user(name).resendConfirmationCode(cb)).then(() => null));
await step("confirm wrongly", () => call((cb) => user(name).confirmRegistration("wrong", true, cb)));
await step("confirm", async () => {
  const sent = await code();
  return call((cb) => user(name).confirmRegistration(sent, true, cb));
});
await step("sign in by SRP", async () => subject(await signIn(user(name), "first-Passw0rd!", "USER_SRP_AUTH")));
await step("sign in by SRP, wrongly", () => signIn(user(name), "not-this-one", "USER_SRP_AUTH"));
await step("sign in by alias", async () => subject(await signIn(user(email), "first-Passw0rd!", "USER_SRP_AUTH")));
await step("sign in by password", async () => subject(await signIn(user(name), "first-Passw0rd!")));

const who = user(name);
let session = null;
await step("sign in again", async () => {
  session = await signIn(who, "first-Passw0rd!");
});
await step("attributes", async () => {
  const list = await call((cb) => who.getUserAttributes(cb));
  return list.find((a) => a.getName() === "email").getValue();
});
await step("refresh", async () => {
  const before = session.getAccessToken().getJwtToken();
  const next = await call((cb) => who.refreshSession(session.getRefreshToken(), cb));
  return next.getAccessToken().getJwtToken() === before ? "the same token" : "another token";
});
await step("change password", () => call((cb) => who.changePassword("first-Passw0rd!", "second-Passw0rd!", cb)));
await step("forget password", () => new Promise((resolve, reject) => user(name).forgotPassword(events(resolve, reject))).then(() => null));
await step("set password", async () => {
  const sent = await code();
  return new Promise((resolve, reject) => user(name).confirmPassword(sent, "third-Passw0rd!", events(resolve, reject)));
});
await step("sign in with the old password", () => signIn(user(name), "second-Passw0rd!"));
const last = user(name);
await step("sign in with the new password", async () => {
  session = await signIn(last, "third-Passw0rd!");
});
await step("sign out", () => new Promise((resolve, reject) => last.signOut((err) => (err ? reject(err) : resolve()))));
await step("refresh after sign-out", () => call((cb) => last.refreshSession(session.getRefreshToken(), cb)));
const other = user(name);
await step("sign in once more", async () => {
  session = await signIn(other, "third-Passw0rd!");
});
await step("sign out everywhere", () => new Promise((resolve, reject) => other.globalSignOut(events(resolve, reject))));
await step("refresh after all", () => call((cb) => other.refreshSession(session.getRefreshToken(), cb)));

console.log(JSON.stringify(out));
