// The certified oidc-provider with one client, for tests: anybody may sign in as
// anybody. Arguments: port, origin of the relying party, client secret.
import Provider from "oidc-provider";

const [port, rp, secret] = process.argv.slice(2);
const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: "sallyport",
    client_secret: secret,
    redirect_uris: [`${rp}/.sallyport/callback`],
    post_logout_redirect_uris: [`${rp}/.sallyport/sign-out`],
    grant_types: ["authorization_code", "refresh_token"],
  }],
  cookies: { keys: ["for tests only"] },
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"], groups: ["groups"] },
  scopes: ["openid", "offline_access", "email", "profile", "groups"],
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  async findAccount(_ctx, id) {
    return { accountId: id, claims: async () => ({ sub: id, email: `${id}@example.test`, email_verified: true, name: id, groups: ["treasury"] }) };
  },
});
provider.on("server_error", (_ctx, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
