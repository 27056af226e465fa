"""botocore at an IAM Identity Center, by the calls of the AWS CLI's `aws sso login` and of its credential provider.

The first line is the code that a person has to enter; the last one is `ok`.
Argument: the URL of the access portal.
"""

import base64
import datetime
import hashlib
import json
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import botocore.config
import botocore.session
from botocore.utils import SSOTokenLoader

START_URL = sys.argv[1]
SCOPES = ["sso:account:access"]
LOOPBACK = "http://127.0.0.1/oauth/callback"
CALLBACK = "http://127.0.0.1:4711/oauth/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"

unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED)
session = botocore.session.Session(profile="work")
oidc = session.create_client("sso-oidc", region_name="eu-west-1", config=unsigned)
portal = session.create_client("sso", region_name="eu-west-1", config=unsigned)


def refused(error, call, **arguments):
    try:
        call(**arguments)
    except error as refusal:
        return refusal.response
    raise AssertionError(f"not {error}")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def location(url):
    try:
        urllib.request.build_opener(NoRedirect).open(url)
    except urllib.error.HTTPError as answer:
        assert answer.code == 302, answer.code
        return answer.headers["Location"]
    raise AssertionError("no redirection")


# By a code (SSOTokenFetcher).
client = oidc.register_client(clientName="botocore-client-work", clientType="public", scopes=SCOPES)
assert client["clientSecretExpiresAt"] > time.time()
known = {"clientId": client["clientId"], "clientSecret": client["clientSecret"]}
device = oidc.start_device_authorization(startUrl=START_URL, **known)
ask = {"grantType": DEVICE, "deviceCode": device["deviceCode"], **known}
pending = refused(oidc.exceptions.AuthorizationPendingException, oidc.create_token, **ask)
assert pending["error"] == "authorization_pending", pending
slow = refused(oidc.exceptions.SlowDownException, oidc.create_token, **ask)
assert slow["error"] == "slow_down", slow
refused(oidc.exceptions.InvalidClientException, oidc.create_token, **{**ask, "clientSecret": "other"})
print(device["userCode"], flush=True)
while True:
    time.sleep(device["interval"])
    try:
        token = oidc.create_token(**ask)
        break
    except oidc.exceptions.AuthorizationPendingException:
        pass
assert token["tokenType"] == "Bearer" and token["refreshToken"], token

# By the browser, with PKCE (SSOTokenFetcherAuth).
browser = oidc.register_client(
    clientName="botocore-client-work",
    clientType="public",
    grantTypes=["authorization_code", "refresh_token"],
    redirectUris=[LOOPBACK],
    issuerUrl=START_URL,
    scopes=SCOPES,
)
verifier = "v" * 64
challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
query = {
    "response_type": "code",
    "client_id": browser["clientId"],
    "redirect_uri": CALLBACK,
    "state": "s",
    "code_challenge_method": "S256",
    "scopes": "sso:account:access",
    "code_challenge": challenge,
}
back = location(f"{oidc.meta.endpoint_url}/authorize?{urllib.parse.urlencode(query)}")
back = urllib.parse.parse_qs(urllib.parse.urlparse(back).query)
assert back["state"] == ["s"], back
redeem = {
    "grantType": "authorization_code",
    "clientId": browser["clientId"],
    "clientSecret": browser["clientSecret"],
    "code": back["code"][0],
    "redirectUri": CALLBACK,
    "codeVerifier": verifier,
}
assert oidc.create_token(**redeem)["accessToken"]
refused(oidc.exceptions.InvalidGrantException, oidc.create_token, **redeem)

# The portal.
bearer = {"accessToken": token["accessToken"]}
accounts = portal.get_paginator("list_accounts").paginate(**bearer).build_full_result()["accountList"]
assert [account["accountName"] for account in accounts] == ["sandbox", "prod", "audit"], accounts
roles = portal.get_paginator("list_account_roles").paginate(accountId="222222222222", **bearer).build_full_result()
assert [role["roleName"] for role in roles["roleList"]] == ["admin", "readonly", "billing"], roles
refused(portal.exceptions.UnauthorizedException, portal.list_accounts, accessToken="other")

# From a login that has ended to credentials, as every program of boto3 goes.
now = datetime.datetime.now(datetime.timezone.utc)
cache = pathlib.Path.home() / ".aws/sso/cache"
cache.mkdir(parents=True)
form = "%Y-%m-%dT%H:%M:%SZ"
login = {
    "startUrl": START_URL,
    "region": "eu-west-1",
    "accessToken": token["accessToken"],
    "expiresAt": (now - datetime.timedelta(minutes=1)).strftime(form),
    "refreshToken": token["refreshToken"],
    "registrationExpiresAt": (now + datetime.timedelta(days=1)).strftime(form),
    **known,
}
name = SSOTokenLoader()._generate_cache_key(START_URL, session_name="work")
(cache / f"{name}.json").write_text(json.dumps(login))
frozen = session.get_credentials().get_frozen_credentials()
assert frozen.access_key.startswith("ASIA") and frozen.token == "222222222222/readonly", frozen
assert json.loads((cache / f"{name}.json").read_text())["accessToken"] != token["accessToken"]

portal.logout(accessToken=json.loads((cache / f"{name}.json").read_text())["accessToken"])
print("ok")
