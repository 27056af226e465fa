// An OpenID provider, which prints its issuer. Everyone may sign in, with any password; the group of each is `aws-readonly`.
// After SIGUSR2 it knows nobody, until the next one.
// Arguments: for how many seconds ID tokens and refresh tokens are valid.
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const client = (client_id) => ({
  client_id,
  application_type: "native",
  token_endpoint_auth_method: "none",
  grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "authorization_code", "refresh_token"],
  // Native clients may take any port of it.
  redirect_uris: ["http://127.0.0.1/callback"],
  response_types: ["code"],
});

const [idToken, refreshToken] = process.argv.slice(2).map(Number);

let knowsAnybody = true;
process.on("SIGUSR2", () => (knowsAnybody = !knowsAnybody));

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: ["alppaca", "wiki"].map(client),
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true }, revocation: { enabled: true } },
    ttl: { IdToken: idToken || 3600, RefreshToken: refreshToken || 86400 },
    claims: { groups: ["groups"] },
    // The ID token has the groups, too.
    conformIdTokenClaims: false,
    findAccount: (_context, id) =>
      knowsAnybody ? { accountId: id, claims: () => ({ sub: id, groups: ["aws-readonly"] }) } : undefined,
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
