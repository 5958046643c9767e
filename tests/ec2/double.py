"""An EC2 that checks signatures and rights (moto), with instances of different roles before it, each with a metadata
service of its own. Prints one line of JSON when all of it answers, and serves until its standard input ends.

Must not listen anywhere but on loopback.
"""

import http.server
import json
import os
import sys
import threading
import urllib.request

# Requests are let through until everything is set up.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"
for name, value in {"ACCESS_KEY_ID": "setup", "SECRET_ACCESS_KEY": "setup", "DEFAULT_REGION": "eu-central-1"}.items():
    os.environ[f"AWS_{name}"] = value

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

REGION = "eu-central-1"
EVIL = "4711 \u202e../../etc/passwd " + "x" * 200


def document(instance):
    """The identity of an instance as EC2 writes it."""
    return json.dumps(
        {
            "accountId": "123456789012",
            "availabilityZone": REGION + "a",
            "instanceId": instance,
            "instanceType": "c7i.large",
            "region": REGION,
        },
        indent=2,
    )


def metadata(instance, role):
    """A metadata service, version 2; its port."""
    answers = {"/latest/dynamic/instance-identity/document": document(instance)}
    roles = "/latest/meta-data/iam/security-credentials/"
    if role:
        answers[roles] = "dfagent-worker"
        answers[roles + "dfagent-worker"] = json.dumps(role)

    class Answers(http.server.BaseHTTPRequestHandler):
        def answer(self, status, text=""):
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self):
            good = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            self.answer(*((200, "token-" + instance) if good else (400,)))

        def do_GET(self):
            if self.headers.get("X-aws-ec2-metadata-token") != "token-" + instance:
                return self.answer(401)
            return self.answer(*((200, answers[self.path]) if self.path in answers else (404,)))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def assume(iam, sts, name, actions):
    """Credentials of a new role that may do this."""
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}))
    rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="rights", PolicyDocument=json.dumps(rights))
    given = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="i-0123456789abcdef0")["Credentials"]
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2026-11-25T08:00:00Z",
        "AccessKeyId": given["AccessKeyId"],
        "SecretAccessKey": given["SecretAccessKey"],
        "Token": given["SessionToken"],
        "Expiration": "2099-01-01T00:00:00Z",
    }


def main():
    """Sets all up, then serves."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://127.0.0.1:%d" % server.get_host_and_port()[1]
    ec2, iam, sts = (boto3.client(name, endpoint_url=endpoint) for name in ("ec2", "iam", "sts"))
    tags = [
        {"Key": "dfagent:case", "Value": EVIL},
        {"Key": "dfagent:sketch", "Value": "case 4711"},
        {"Key": "dfagent:source-volume", "Value": "vol-0fedcba9876543210"},
        {"Key": "Name", "Value": "not ours to note"},
    ]
    specification = [{"ResourceType": "volume", "Tags": tags}]
    tagged = ec2.create_volume(AvailabilityZone=REGION + "a", Size=3, TagSpecifications=specification)
    plain = ec2.create_volume(AvailabilityZone=REGION + "a", Size=5, Encrypted=True)
    may = assume(iam, sts, "may", "ec2:DescribeVolumes")
    may_not = assume(iam, sts, "may-not", "ec2:DescribeRegions")
    forged = {**may, "SecretAccessKey": may["SecretAccessKey"][::-1]}
    reset = urllib.request.Request(endpoint + "/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(reset).read()
    facts = {
        "endpoint": endpoint,
        "volumes": [tagged["VolumeId"], plain["VolumeId"]],
        "may": metadata("i-0123456789abcdef0", may),
        "may_not": metadata("i-0123456789abcdef1", may_not),
        "forged": metadata("i-0123456789abcdef2", forged),
        "none": metadata("i-0123456789abcdef3", None),
        "secrets": [may["SecretAccessKey"], may["Token"]],
    }
    print(json.dumps(facts), flush=True)
    sys.stdin.read()
    server.stop()


main()
