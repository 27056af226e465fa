// The AWS SDK for JavaScript as most programs use it; a round of calls for each line of input, see ../python/rounds.py.
import { createInterface } from "node:readline";

import { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const [bucket, key] = process.argv.slice(2);
const s3 = new S3Client();
const sts = new STSClient();

async function round() {
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: "javascript" }));
  const got = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const text = await got.Body.transformToString();
  if (text !== "javascript") throw new Error(`got ${text}`);
  await s3.send(new ListBucketsCommand());
  await sts.send(new GetCallerIdentityCommand());
}

for await (const _ of createInterface({ input: process.stdin })) {
  try {
    await round();
    console.log("ok");
  } catch (error) {
    console.log("error:", `${error.name} ${error.message}`.replaceAll(/\s+/g, " "));
  }
}
