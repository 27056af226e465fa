"""minio-py with its provider for EC2, ECS and EKS, which it has in place of a chain."""

import io
import os
import sys
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials import IamAwsProvider

from rounds import expect, serve

bucket, key = sys.argv[1:]
# The only client that does not read this variable by itself; and it would ask there for containers, too.
container = any(name.startswith("AWS_CONTAINER_CREDENTIALS_") for name in os.environ)
imds = None if container else os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
gate = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
client = Minio(gate, secure=False, credentials=IamAwsProvider(custom_endpoint=imds))


def make_round():
    client.put_object(bucket, key, io.BytesIO(b"minio"), 5)
    with client.get_object(bucket, key) as answer:
        expect(answer.read(), b"minio")
    client.list_buckets()


serve(make_round)
