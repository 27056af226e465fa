#!/bin/sh
# usage: curl.sh ALPPACA BUCKET KEY — curl signs with what `alppaca credentials` exports; see ../python/rounds.py.
alppaca=$1 bucket=$2 key=$3

signed() {
    service=$1
    shift
    # By standard input, so that the secret is not in the process list.
    curl -sS --fail-with-body --aws-sigv4 "aws:amz:us-east-1:$service" -K - "$@" <<END
user = "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
header = "x-amz-security-token: $AWS_SESSION_TOKEN"
END
}

round() {
    exports=$("$alppaca" credentials --format env) && eval "$exports" || return
    signed s3 -X PUT -d curl -H 'Content-Type: text/plain' "$AWS_ENDPOINT_URL/$bucket/$key" &&
        [ "$(signed s3 "$AWS_ENDPOINT_URL/$bucket/$key")" = curl ] &&
        signed sts -d 'Action=GetCallerIdentity&Version=2011-06-15' "$AWS_ENDPOINT_URL/"
}

while read -r _; do
    if said=$(round 2>&1); then echo ok; else echo "error: $(printf %s "$said" | tr '\n' ' ')"; fi
done
