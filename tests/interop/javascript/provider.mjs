// An OpenID provider, which prints its issuer. Everyone may sign in, with any password; the group of each is `aws-readonly`.
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const client = (client_id) => ({
  client_id,
  application_type: "native",
  token_endpoint_auth_method: "none",
  grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
  redirect_uris: [],
  response_types: [],
});

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: ["alppaca", "wiki"].map(client),
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    claims: { groups: ["groups"] },
    // The ID token has the groups, too.
    conformIdTokenClaims: false,
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, groups: ["aws-readonly"] }),
    }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
