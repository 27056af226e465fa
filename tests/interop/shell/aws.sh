#!/bin/sh
# usage: aws.sh AWS BUCKET KEY — a round of calls by the AWS CLI for each line of input; see ../python/rounds.py.
aws=$1 bucket=$2 key=$3

run() { "$aws" --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

round() {
    echo aws >"$HOME/sent" &&
        run s3api put-object --bucket "$bucket" --key "$key" --body "$HOME/sent" &&
        run sts get-caller-identity
}

while read -r _; do
    if said=$(round 2>&1); then echo ok; else echo "error: $(printf %s "$said" | tr '\n' ' ')"; fi
done
