"""boto3 as most programs use it: no arguments, so the default chain finds everything."""

import sys

import boto3

from rounds import expect, serve

bucket, key = sys.argv[1:]
session = boto3.Session()
s3 = session.client("s3")
sts = session.client("sts")


def make_round():
    s3.put_object(Bucket=bucket, Key=key, Body=b"boto3")
    expect(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), b"boto3")
    s3.list_buckets()
    sts.get_caller_identity()


serve(make_round)
