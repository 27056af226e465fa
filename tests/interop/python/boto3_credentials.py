"""Gets credentials as any program with boto3 does: the default chain, nothing stubbed.

Prints one JSON object. The secrets themselves are never printed; their digests tell the test
whether they are the ones it expects.
"""

import hashlib
import json
import sys

import boto3


def digest(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


def main():
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        sys.exit("boto3 found no credentials")
    if credentials.method != "iam-role":
        sys.exit(f"boto3 took its credentials from {credentials.method}, not from the metadata service")
    frozen = credentials.get_frozen_credentials()
    print(
        json.dumps(
            {
                "method": credentials.method,
                "access_key": frozen.access_key,
                "secret_sha256": digest(frozen.secret_key),
                "token_sha256": digest(frozen.token),
                # botocore has no public name for it.
                "expiry": credentials._expiry_time.isoformat(),
            }
        )
    )


main()
