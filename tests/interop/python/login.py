"""The key of the profile `console`, as botocore gets it from the cache of `aws login`."""

import botocore.credentials
import botocore.session
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils


class EC:
    """What botocore wants of `awscrt.crypto.EC`, by another library, so that no more has to be installed."""

    def __init__(self, key):
        self._key = key

    @classmethod
    def new_key_from_der_data(cls, data):
        return cls(serialization.load_der_private_key(data, None))

    def get_public_coords(self):
        numbers = self._key.public_key().public_numbers()
        return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")

    def sign(self, digest):
        return self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    @staticmethod
    def decode_der_signature_to_padded_pair(signature, pad_to):
        return b"".join(number.to_bytes(pad_to, "big") for number in utils.decode_dss_signature(signature))


if botocore.credentials.EC is None:
    botocore.credentials.EC = EC
credentials = botocore.session.Session(profile="console").get_credentials()
print(credentials.get_frozen_credentials().access_key)
