#!/bin/sh
# The bucket, and a key pair that may do anything in it and nothing elsewhere. Repeatable.
set -eu
mc alias set lake "${MINIO_ENDPOINT:-http://minio:9000}" "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" >/dev/null
mc mb --ignore-existing lake/tideline
cat >/tmp/policy.json <<'POLICY'
{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::tideline", "arn:aws:s3:::tideline/*"]}
  ]
}
POLICY
mc admin policy create lake tideline-bucket /tmp/policy.json
mc admin user add lake "$S3_ACCESS_KEY" "$S3_SECRET_KEY"
# Attaching a policy that is attached already is an error of its own.
mc admin policy attach lake tideline-bucket --user "$S3_ACCESS_KEY" 2>&1 | grep -v 'already' || true
mc admin user info lake "$S3_ACCESS_KEY" | grep -q tideline-bucket
